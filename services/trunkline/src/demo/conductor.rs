//! The demo's loop: calls flow, events are staged, keys are obeyed, one line always stands.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::{Lifecycle, TaskOptions};
use serde_json::json;
use sim::carrier::{Attack, AttackHandle, Progress};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::cli::{DemoArgs, Sabotage};
use crate::demo::doubling::Doubling;
use crate::demo::finish;
use crate::demo::script::{Cue, Script};
use crate::demo::staged::{AttackReport, FailureReport, FailureWatch, attack_is_over};
use crate::demo::status::{Figures, Rate, span};
use crate::demo::terminal::{Ask, Terminal};
use crate::demo::world::{ATTACKER, COMPROMISED, NODES, VISITOR, World};
use crate::demo::{Folder, Places, sabotage};
use crate::platform::{self, Base, CdrSlot, Platform};
use crate::records::{Counts, Records};
use crate::replay::{self, Rebuilt};

const TICK: Duration = Duration::from_millis(100);
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// A record may take this long after the end of its call before the line calls it missing.
const GRACE: Duration = Duration::from_secs(2);
/// A dead node comes back after this in a demo without an end, so that `k` can be pressed again.
const NODE_BACK_AFTER: Duration = Duration::from_secs(30);
const ATTACK_RATE: f64 = 40.0;
const ATTACK_CALLS: u64 = 160;

pub struct Show {
    pub args: DemoArgs,
    pub world: World,
    pub platform: Platform,
    pub terminal: Terminal,
    pub places_world: crate::runtimes::Place,
    pub folder: std::path::PathBuf,
    pub cdr: CdrSlot,
    pub stop: Stop,
    doubling: Arc<AtomicBool>,
    records: Option<Records>,
    started: Instant,
    rate: Rate,
    counts: Counts,
    counted: Option<Instant>,
    /// Closed calls at earlier looks, to know how many must be recorded by now.
    closed: std::collections::VecDeque<(Instant, u64)>,
    attack: Option<AttackHandle>,
    attack_told: bool,
    attacks: u64,
    pub failure: Option<FailureWatch>,
    failed_at: Option<Instant>,
    failure_told: bool,
    rebuilds: u32,
    rebuilding: Option<oneshot::Receiver<anyhow::Result<Rebuilt>>>,
    life: Lifecycle,
}

pub async fn conduct(args: DemoArgs, folder: &Folder, places: &Places) -> anyhow::Result<ExitCode> {
    let seed = args.seed;
    let world = places.world.start(move || World::start(seed)).await?;
    let settings = world.settings(folder.path(), seed, args.listen);
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
    let host = platform::host(&settings, life.clone(), keys);
    let base = Arc::new(Base::new(settings, host, log, filter));
    let (platform, cdr) = Platform::start(base, &places.downstream).await?;
    world.connect(platform.edge.trunk_addr, platform.edge.node_addr).await?;
    wait_for_nodes(&platform).await?;

    let page = format!("http://{}/", platform.api.addr);
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
        places_world: places.world.clone(),
        folder: folder.path().to_path_buf(),
        cdr,
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
    let left = show.platform.base.flush().await;
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
            if ready && platform.engine.nodes.iter().all(|n| n.state().up) {
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
        self.places_world
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
        if self.cdr.is_running() {
            self.cdr.stop().await;
            self.records = None;
            let text = "call records stopped: calls go on, their events wait in the topics; press c again";
            self.terminal.say("cdr", text, json!({ "running": false }));
        } else {
            self.cdr.start().await?;
            self.terminal.say("cdr", "call records run again and catch up", json!({ "running": true }));
        }
        Ok(())
    }

    async fn stage_attack(&mut self) -> anyhow::Result<()> {
        if self.attack.as_ref().is_some_and(|a| !a.is_finished()) {
            return Ok(());
        }
        self.attacks += 1;
        let text = format!(
            "attack: the password of trunk `{COMPROMISED}` leaked; {ATTACK_RATE} INVITEs/s to premium numbers by {}",
            domain::mask_number(ATTACKER)
        );
        self.terminal.say("attack", &text, json!({ "calls": ATTACK_CALLS, "rate": ATTACK_RATE }));
        // Each burst is by another leaked number, or the first one's block would end it before it began.
        let caller = format!("{ATTACKER}{}", self.attacks);
        let attack = Attack::new(self.args.seed.wrapping_add(self.attacks), caller, ATTACK_RATE, ATTACK_CALLS);
        let carrier = self.world.compromised.clone();
        self.attack = Some(self.places_world.start(move || async move { Ok(attack.start(carrier)) }).await?);
        self.attack_told = false;
        Ok(())
    }

    async fn stage_failure(&mut self) {
        let alive: Vec<_> = self.world.nodes.iter().filter(|n| n.is_alive()).collect();
        // The last node stays: a demo without any node shows nothing.
        let Some(node) = (alive.len() > 1).then(|| Arc::clone(alive[0])) else { return };
        let view = self.node_view(&node.id());
        let calls = node.stats().channels;
        node.kill().await;
        let attempts = view.map_or(0, |v| v.attempts);
        self.failure = Some(FailureWatch::new(&node.id(), calls, attempts, Instant::now()));
        self.failed_at = Some(Instant::now());
        self.failure_told = false;
        let text = format!("node {} was killed with {calls} channels on it", node.id());
        self.terminal.say("node_failure", &text, json!({ "node": node.id(), "channels": calls }));
    }

    fn node_view(&self, id: &str) -> Option<edge::NodeView> {
        self.platform.edge.snapshot().nodes.into_iter().find(|n| n.id == id)
    }

    /// Begins a rebuild beside the running calls; `look` tells what came out.
    fn begin_rebuild(&mut self) {
        let Some(live) = self.cdr.path() else {
            self.terminal.say("rebuild", "the call records are stopped: press c first", json!({}));
            return;
        };
        if self.rebuilding.is_some() {
            return;
        }
        self.terminal.say(
            "rebuild_begins",
            "rebuild: every record again, from the topics into an empty file",
            json!({}),
        );
        let (done, result) = oneshot::channel();
        let again = self.again(live);
        self.life.spawn("demo.rebuild", TaskOptions::default(), move |_| async move {
            // Nobody waits for it any more when the demo ends first.
            let _ = done.send(again.await);
            Ok(())
        });
        self.rebuilding = Some(result);
    }

    /// Rebuilds and waits for it.
    pub async fn rebuild(&mut self) -> anyhow::Result<Rebuilt> {
        let live = self.cdr.path().context("a rebuild needs the call records")?;
        let rebuilt = self.again(live).await?;
        self.tell_rebuild(&rebuilt);
        Ok(rebuilt)
    }

    /// Copies the live call log, rebuilds it from the topics, compares.
    fn again(&mut self, live: std::path::PathBuf) -> impl Future<Output = anyhow::Result<Rebuilt>> + Send + use<> {
        self.rebuilds += 1;
        let folder = self.folder.join(format!("rebuild-{}", self.rebuilds));
        let log = Arc::clone(&self.platform.base.log);
        let place = self.platform.downstream.clone();
        let work = move || async move {
            let rebuilt = replay::compare(log, &live, &folder, |_| {}).await?;
            // Both files are large and say the same; different ones are kept to be looked at.
            if rebuilt.equal() {
                std::fs::remove_dir_all(&folder)?;
            }
            Ok(rebuilt)
        };
        async move { place.start(work).await }
    }

    fn tell_rebuild(&mut self, rebuilt: &Rebuilt) {
        let text = format!(
            "rebuild: {} calls from {} records of the topics in {}\n  live     {}\n  rebuilt  {}  {}",
            rebuilt.calls,
            rebuilt.records,
            span(rebuilt.took),
            rebuilt.live,
            rebuilt.again,
            if rebuilt.equal() { "equal" } else { "DIFFERENT" },
        );
        let fields =
            json!({ "live": rebuilt.live, "rebuilt": rebuilt.again, "equal": rebuilt.equal(), "calls": rebuilt.calls });
        self.terminal.say("rebuild", &text, fields);
    }

    fn watch_rebuild(&mut self) {
        let Some(result) = self.rebuilding.as_mut().and_then(|waiting| waiting.try_recv().ok()) else { return };
        self.rebuilding = None;
        match result {
            Ok(rebuilt) => self.tell_rebuild(&rebuilt),
            Err(error) => self.terminal.say("rebuild", &format!("rebuild failed: {error:#}"), json!({})),
        }
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
            lag: Duration::from_micros(self.cdr.lag_us()),
        };
        self.terminal.stand(&figures);
        Ok(figures)
    }

    async fn count(&mut self) -> anyhow::Result<()> {
        let Some(path) = self.cdr.path() else { return Ok(()) };
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

    fn watch_attack(&mut self) {
        let over = self.attack.as_ref().is_some_and(AttackHandle::is_finished) && attack_is_over(&self.world.ledger);
        if over && !self.attack_told {
            self.attack_told = true;
            let report = self.attack_report();
            let fields = serde_json::to_value(&report).unwrap_or_default();
            self.terminal.say("attack_over", &report.sentence(), fields);
        }
    }

    pub fn attack_report(&self) -> AttackReport {
        if self.attacks == 0 {
            return AttackReport::default();
        }
        AttackReport::of(&self.world.ledger.snapshot(), &self.platform.fraud.latest())
    }

    async fn watch_failure(&mut self) {
        let Some(node) = self.failure.as_ref().map(|w| w.node().to_owned()) else { return };
        if self.world.nodes.iter().any(|n| n.id() == node && n.is_alive()) {
            return;
        }
        let view = self.node_view(&node);
        if let (Some(watch), Some(view)) = (&mut self.failure, view) {
            watch.look(&view);
        }
        let since = self.failed_at.map_or(Duration::ZERO, |at| at.elapsed());
        if since >= Duration::from_secs(6) && !self.failure_told {
            self.tell_failure();
        }
        if self.args.calls.is_none() && since >= NODE_BACK_AFTER {
            let Some(dead) = self.world.nodes.iter().find(|n| n.id() == node).cloned() else { return };
            let back = self.places_world.start(move || async move { Ok(dead.restart().await?) }).await;
            let text = match back {
                Ok(()) => format!("node {node} is back with a new Core-UUID and takes calls slowly at first"),
                Err(error) => format!("node {node} could not come back: {error:#}"),
            };
            self.terminal.say("node_back", &text, json!({ "node": node }));
            self.failed_at = None;
        }
    }

    pub fn tell_failure(&mut self) {
        if let Some(watch) = self.failure.as_ref().filter(|_| !self.failure_told) {
            self.failure_told = true;
            let (text, fields) = (watch.sentence(), serde_json::to_value(watch.report()).unwrap_or_default());
            self.terminal.say("node_failure_over", &text, fields);
        }
    }

    pub fn failure_report(&self) -> FailureReport {
        self.failure.as_ref().map(|w| w.report().clone()).unwrap_or_default()
    }

    pub fn records_closed(&mut self) {
        self.records = None;
    }
}
