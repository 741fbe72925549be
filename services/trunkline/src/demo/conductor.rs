//! The demo's loop: calls flow, events are staged, keys are obeyed, one line always stands.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::{Lifecycle, TaskOptions};
use serde_json::json;
use sim::carrier::{AttackHandle, Progress};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::base::{self, Base};
use crate::cli::{DemoArgs, Sabotage};
use crate::demo::doubling::Doubling;
use crate::demo::finish;
use crate::demo::script::{Cue, Script};
use crate::demo::staged::FailureWatch;
use crate::demo::status::{Figures, Rate};
use crate::demo::terminal::{Ask, Terminal};
use crate::demo::world::{NODES, VISITOR, World};
use crate::demo::{Folder, Places, sabotage};
use crate::platform::Platform;
use crate::records::{Counts, Records};
use crate::replay::Rebuilt;

const TICK: Duration = Duration::from_millis(100);
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// A record may take this long after the end of its call before the line calls it missing.
const GRACE: Duration = Duration::from_secs(2);
pub struct Show {
    pub args: DemoArgs,
    pub world: World,
    pub platform: Platform,
    pub terminal: Terminal,
    pub places: Places,
    pub folder: std::path::PathBuf,
    pub stop: Stop,
    pub(super) doubling: Arc<AtomicBool>,
    pub(super) records: Option<Records>,
    pub(super) started: Instant,
    pub(super) rate: Rate,
    pub(super) counts: Counts,
    pub(super) counted: Option<Instant>,
    /// Closed calls at earlier looks, to know how many must be recorded by now.
    pub(super) closed: std::collections::VecDeque<(Instant, u64)>,
    pub(super) attack: Option<AttackHandle>,
    pub(super) attack_told: bool,
    pub(super) attacks: u64,
    pub failure: Option<FailureWatch>,
    pub(super) failed_at: Option<Instant>,
    pub(super) failure_told: bool,
    pub(super) rebuilds: u32,
    pub(super) rebuilding: Option<oneshot::Receiver<anyhow::Result<Rebuilt>>>,
    pub(super) life: Lifecycle,
}

pub async fn conduct(args: DemoArgs, folder: &Folder, places: &Places) -> anyhow::Result<ExitCode> {
    let seed = args.seed;
    let world = places.world.start(move || World::start(seed)).await?;
    let settings = world.settings(folder, seed, args.listen);
    if args.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    let mut terminal = Terminal::new(args.json);
    let life = Lifecycle::isolating(Duration::from_secs(settings.drain_s));
    let keys = kit::keys::ensure(&settings.keys_dir())?;
    let log = stream::open(&settings.stream, &settings.data_dir).context("the event log")?;
    let (log, doubling) = Doubling::new(log);
    let filter = (args.sabotage == Some(Sabotage::Drop)).then(sabotage::drop_calls);
    let host = base::host(&settings, life.clone(), keys);
    let base = Arc::new(Base::new(settings, host, log, filter));
    base.ensure_topics().await?;
    let mut platform = Platform::start(&base, &places.live, &places.downstream).await?;
    platform.downstream.start().await?;
    world.connect(platform.edge.trunk_addr, platform.edge.node_addr).await?;
    wait_for_nodes(&platform).await?;

    let page = platform.api.running().map(|api| format!("http://{}/", api.addr)).unwrap_or_default();
    let trunk = platform.edge.trunk_addr;
    let text = format!(
        "trunkline demo: {} simulated nodes, {} trunks, every service in this process; seed {seed}\n  page   {page}\n  \
         call   sipp -sn uac {trunk} -i 127.0.0.1 -s 3001 -m 1 -d 2000   (trunk `{VISITOR}`)\n  data   {}{}",
        NODES.len(),
        world.ordinary.len() + 2,
        folder.path().display(),
        if terminal.is_person() {
            "\n  keys   a attack · k kill a node · c stop/start call records · d deliver twice · r rebuild · q quit"
        } else {
            ""
        },
    );
    terminal.say("start", &text, json!({ "page": page, "sip": trunk.to_string(), "data": folder.path() }));

    let mut show = Show {
        world,
        platform,
        terminal,
        places: places.clone(),
        folder: folder.path().to_path_buf(),
        stop: Stop::default(),
        doubling,
        records: None,
        started: Instant::now(),
        rate: Rate::default(),
        counts: Counts::default(),
        counted: None,
        closed: std::collections::VecDeque::new(),
        attack: None,
        attack_told: false,
        attacks: 0,
        failure: None,
        failed_at: None,
        failure_told: false,
        rebuilds: 0,
        rebuilding: None,
        life: life.clone(),
        args,
    };
    watch_signals(&life, show.stop.clone());
    let now = show.stop.at_once.clone();
    let outcome = tokio::select! {
        biased;
        () = now.cancelled() => Err(anyhow::anyhow!("ended at once: nothing was judged")),
        outcome = show.run(&life) => outcome,
    };
    show.terminal.leave_raw();
    let ended = life.stop().await;
    let left = show.platform.base.close().await;
    for what in ended.abandoned.iter().chain(&ended.failed).chain(&left) {
        tracing::error!(what, "left over at the end");
    }
    outcome
}

/// How the demo is asked to end: once in order, twice at once.
#[derive(Clone, Default)]
pub struct Stop {
    pub asked: CancellationToken,
    pub at_once: CancellationToken,
}

impl Stop {
    pub fn ask(&self) {
        if self.asked.is_cancelled() {
            self.at_once.cancel();
        }
        self.asked.cancel();
    }
}

/// SIGINT and SIGTERM mean the same.
fn watch_signals(life: &Lifecycle, stop: Stop) {
    life.spawn("demo.signals", TaskOptions::default(), move |task| async move {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let over = task.shutdown();
        loop {
            tokio::select! {
                _ = interrupt.recv() => stop.ask(),
                _ = terminate.recv() => stop.ask(),
                () = over.cancelled() => return Ok(()),
            }
        }
    });
}

/// Calls only make sense once a node can take them.
async fn wait_for_nodes(platform: &Platform) -> anyhow::Result<()> {
    let up = async {
        loop {
            let ready = platform.edge.snapshot().nodes.iter().all(|n| n.state == "up");
            if ready && platform.engine.running().is_some_and(|engine| engine.nodes.iter().all(|n| n.state().up)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), up).await.context("the nodes were not up within 10 s")
}

/// What ended the loop.
enum End {
    AllOffered,
    Asked,
}

impl Show {
    async fn run(&mut self, life: &Lifecycle) -> anyhow::Result<ExitCode> {
        let stop = CancellationToken::new();
        let progress = self.start_traffic(life, stop.clone()).await?;
        let mut keys = self.terminal.keys(self.stop.clone());
        let end = self.until_offered(&progress, &mut keys).await;
        stop.cancel();
        let End::AllOffered = end? else {
            return finish::judge(self).await;
        };
        let code = finish::judge(self).await?;
        if !self.args.exit {
            self.stop.asked.clone().cancelled().await;
        }
        Ok(code)
    }

    async fn start_traffic(&mut self, life: &Lifecycle, stop: CancellationToken) -> anyhow::Result<Arc<Progress>> {
        let generator = self.world.traffic(self.args.seed, self.args.rate, self.args.hold);
        let carriers = self.world.ordinary.clone();
        let progress = Arc::new(Progress::default());
        let (shared, calls, life) = (Arc::clone(&progress), self.args.calls, life.clone());
        self.places
            .world
            .start(move || async move {
                life.spawn("demo.traffic", TaskOptions::default(), move |_| async move {
                    generator.run(&carriers, 0, calls, shared, stop).await?;
                    Ok(())
                });
                Ok(())
            })
            .await?;
        self.started = Instant::now();
        Ok(progress)
    }

    /// Runs until all calls of `--calls` were offered, or somebody asks for the end.
    async fn until_offered(
        &mut self,
        progress: &Progress,
        keys: &mut tokio::sync::mpsc::Receiver<Ask>,
    ) -> anyhow::Result<End> {
        let mut script = Script::new(self.args.calls, self.args.rate);
        if script.is_short() {
            let text = "a short run (under 15 s): only the rebuild is staged";
            self.terminal.say("short", text, json!({}));
        }
        let asked = self.stop.asked.clone();
        let mut tick = tokio::time::interval(TICK);
        let mut keys_open = true;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = asked.cancelled() => return Ok(End::Asked),
                ask = keys.recv(), if keys_open => match ask {
                    Some(ask) => self.obey(ask).await?,
                    None => keys_open = false,
                },
            }
            let offered = progress.placed();
            while let Some(cue) = script.due(self.started.elapsed(), offered) {
                match cue {
                    Cue::Attack => self.stage_attack().await?,
                    Cue::NodeFailure => self.stage_failure().await,
                    Cue::Rebuild => self.begin_rebuild(),
                }
            }
            self.look().await?;
            if self.args.calls.is_some_and(|calls| offered >= calls) {
                return Ok(End::AllOffered);
            }
        }
    }

    async fn obey(&mut self, ask: Ask) -> anyhow::Result<()> {
        match ask {
            Ask::Attack => self.stage_attack().await,
            Ask::KillNode => {
                self.stage_failure().await;
                Ok(())
            }
            Ask::ToggleCdr => self.toggle_cdr().await,
            Ask::ToggleDouble => {
                let on = !self.doubling.fetch_xor(true, Ordering::Relaxed);
                let text =
                    if on { "every event is delivered twice from now on" } else { "events are delivered once again" };
                self.terminal.say("double", text, json!({ "on": on }));
                Ok(())
            }
            Ask::Rebuild => {
                self.begin_rebuild();
                Ok(())
            }
        }
    }

    async fn toggle_cdr(&mut self) -> anyhow::Result<()> {
        if self.platform.downstream.cdr.is_running() {
            self.platform.downstream.cdr.stop().await;
            self.records = None;
            let text = "call records stopped: calls go on, their events wait in the topics; press c again";
            self.terminal.say("cdr", text, json!({ "running": false }));
        } else {
            self.platform.downstream.cdr.start().await?;
            self.terminal.say("cdr", "call records run again and catch up", json!({ "running": true }));
        }
        Ok(())
    }

    /// One look at everything: the standing line, and what became of the staged events.
    pub async fn look(&mut self) -> anyhow::Result<Figures> {
        self.count().await?;
        self.watch_attack();
        self.watch_failure().await;
        self.watch_rebuild();
        let calls = self.world.ledger.counters().calls();
        let closed = calls.ended + calls.failed;
        let now = Instant::now();
        self.closed.push_back((now, closed));
        while self.closed.len() > 1 && now.duration_since(self.closed[1].0) >= GRACE {
            self.closed.pop_front();
        }
        let due = self.closed.front().filter(|(at, _)| now.duration_since(*at) >= GRACE).map_or(0, |(_, n)| *n);
        let figures = Figures {
            offered: calls.offered,
            open: calls.open,
            recorded: self.counts.closed,
            missing: due.saturating_sub(self.counts.closed),
            doubled: self.counts.doubled,
            rate: self.rate.update(self.started.elapsed(), calls.offered),
            lag: Duration::from_micros(self.platform.downstream.cdr.lag_us()),
        };
        self.terminal.stand(&figures);
        Ok(figures)
    }

    async fn count(&mut self) -> anyhow::Result<()> {
        let Some(path) = self.platform.downstream.cdr.path() else { return Ok(()) };
        if self.counted.is_some_and(|at| at.elapsed() < COUNT_EVERY) {
            return Ok(());
        }
        self.counted = Some(Instant::now());
        if self.records.is_none() {
            self.records = Some(Records::open(&path).await?);
        }
        if let Some(records) = &mut self.records {
            self.counts = records.counts(VISITOR).await?;
        }
        Ok(())
    }

    pub fn records_closed(&mut self) {
        self.records = None;
    }
}
