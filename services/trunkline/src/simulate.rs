//! `trunkline simulate`: plays the carriers and the switches that the settings name, for services that run in other processes.
//!
//! A trunk whose source is one address and port is a carrier there; one with an `address` of its own receives calls, the others
//! place them. A node of the edge with its entry in `[[engine.nodes]]` is a switch on both addresses. So the platform meets its
//! world by its own settings, whoever is restarted. It judges nothing: it says what the carriers saw.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use edge::{Side, Source};
use kit::{Lifecycle, TaskOptions};
use serde_json::json;
use sim::carrier::{CarrierHandle, Progress};
use sim::ledger::{Call, Ledger};
use sim::switch::SwitchHandle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::SimulateArgs;
use crate::demo::world;
use crate::settings::Settings;

const SAY_EVERY: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After the last caller is gone: a called party that heard nothing for so long hangs up itself.
const STRANDED_AFTER: Duration = Duration::from_secs(5);
const CALLS_END_WITHIN: Duration = Duration::from_secs(90);

pub fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.config.config)?;
    if args.config.print_config {
        print!("{}", kit::settings::print(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    kit::telemetry::init(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(simulate(args, &settings))
}

/// Whom we play, and what they did.
struct Cast {
    switches: Vec<SwitchHandle>,
    callers: Vec<CarrierHandle>,
    called: Vec<CarrierHandle>,
    ledger: Ledger,
}

async fn simulate(args: &SimulateArgs, settings: &Settings) -> anyhow::Result<ExitCode> {
    let cast = Cast::start(settings, args.seed).await?;
    let ids: Vec<&str> = cast.callers.iter().map(CarrierHandle::id).collect();
    println!(
        "{} switches, {} carriers that call, {} that are called",
        cast.switches.len(),
        ids.len(),
        cast.called.len()
    );

    let life = Lifecycle::isolating(Duration::from_secs(5));
    let (stop, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
    let generator = world::traffic(args.seed, args.rate, args.hold, &ids);
    let (carriers, calls, placing) = (cast.callers.clone(), args.calls, stop.clone());
    life.spawn("traffic", TaskOptions::default(), move |_| async move {
        generator.run(&carriers, 0, calls, progress, placing).await?;
        Ok(())
    });
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asked = async {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    tokio::pin!(asked);
    let all_placed = tokio::select! {
        () = &mut asked => false,
        () = cast.until_placed(args.calls) => true,
    };
    stop.cancel();
    cast.until_over().await;
    cast.tell(args.ledger.as_deref())?;
    // The calls are over; the switches stay, for a platform without any node is not at rest but in trouble.
    if all_placed {
        asked.await;
    }
    let _ended = life.stop().await;
    Ok(ExitCode::SUCCESS)
}

impl Cast {
    async fn start(settings: &Settings, seed: u64) -> anyhow::Result<Cast> {
        let side = |side: Side| {
            let listener = settings.edge.listeners.iter().find(|l| l.side == side);
            listener
                .map(|l| l.advertise.unwrap_or(l.bind))
                .with_context(|| format!("no listener for the {} side", side.as_str()))
        };
        let (trunk_side, node_side) = (side(Side::Trunk)?, side(Side::Node)?);
        let mut switches = Vec::new();
        for (at, node) in settings.edge.nodes.iter().enumerate() {
            let esl = settings.engine.nodes.iter().find(|n| n.id == node.id);
            let esl = esl.with_context(|| format!("node {} has no entry in [[engine.nodes]]", node.id))?;
            let address: SocketAddr =
                esl.address.parse().with_context(|| format!("node {}: {}", node.id, esl.address))?;
            let seed = seed.wrapping_mul(31).wrapping_add(at as u64);
            let sip = node.address.address().with_context(|| format!("node {} has a name, not an address", node.id))?;
            let switch = world::node(&node.id, [sip, address], esl.password.expose().to_owned(), seed).await?;
            switch.set_gateway(node_side).await;
            switches.push(switch);
        }
        let mut cast = Cast { switches, callers: Vec::new(), called: Vec::new(), ledger: Ledger::new() };
        for trunk in &settings.edge.trunks {
            let one = trunk.sources.iter().find_map(|s| if let Source::Port(at) = s { Some(*at) } else { None });
            let Some(at) = one else { continue };
            let carrier = world::carrier(&trunk.id, at, seed, &cast.ledger)?;
            carrier.set_edge(trunk_side).await?;
            let of = if trunk.address.is_some() { &mut cast.called } else { &mut cast.callers };
            of.push(carrier);
        }
        ensure!(!cast.callers.is_empty(), "no trunk has one address and port as its source: nobody could call");
        Ok(cast)
    }

    fn everybody(&self) -> impl Iterator<Item = &CarrierHandle> {
        self.callers.iter().chain(&self.called)
    }

    /// Says now and then how it goes, until so many calls were placed.
    async fn until_placed(&self, calls: Option<u64>) {
        let mut said = Instant::now();
        loop {
            let seen = self.ledger.counters().calls();
            if calls.is_some_and(|calls| seen.offered >= calls) {
                return;
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                println!(
                    "calls {} offered, {} open, {} answered, {} failed",
                    seen.offered, seen.open, seen.answered, seen.failed
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Until no carrier holds a call any more. Whoever is left alone hangs up.
    async fn until_over(&self) {
        let began = Instant::now();
        let mut callers_done: Option<Instant> = None;
        while began.elapsed() < CALLS_END_WITHIN {
            let (mut placed, mut received) = (0, 0);
            for carrier in self.everybody() {
                let open = carrier.open().await.unwrap_or_default();
                placed += open.placed;
                received += open.received;
            }
            if placed + received == 0 {
                return;
            }
            if placed == 0 && callers_done.get_or_insert_with(Instant::now).elapsed() > STRANDED_AFTER {
                for carrier in &self.called {
                    // A carrier that is gone has nothing to hang up.
                    let _gone = carrier.hang_up_all().await;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// One object as the last line: what the carriers saw. Call by call into a file, if one is named; no numbers.
    fn tell(&self, ledger: Option<&Path>) -> anyhow::Result<()> {
        let snapshot = self.ledger.snapshot();
        if let Some(path) = ledger {
            let mut text = String::new();
            for call in &snapshot.calls {
                text += &format!("{}\n", line(call));
            }
            std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        let seen = self.ledger.counters().calls();
        println!(
            "{}",
            json!({ "calls": seen.offered, "answered": seen.answered, "failed": seen.failed, "open": seen.open })
        );
        std::io::stdout().flush()?;
        Ok(())
    }
}

fn line(call: &Call) -> serde_json::Value {
    json!({
        "trunk": &*call.trunk, "sip_call_id": &*call.call_id, "kind": call.kind.as_str(),
        "answered": call.answered(), "final_code": call.final_code, "closed": call.closed,
    })
}
