//! The end of a run: let everything come to rest, rebuild, ask the oracle, say what came out.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use sim::carrier::Kind;
use sim::ledger::Snapshot;
use sim::oracle::{self, Rules, Verdict};

use crate::cli::Sabotage;
use crate::demo::conductor::Show;
use crate::demo::sabotage;
use crate::demo::world::{NODES, ORDINARY, VISITOR};
use crate::records::{self, Records};
use crate::replay::Rebuilt;
use crate::story;

const CALLS_END_WITHIN: Duration = Duration::from_secs(90);
const RECORDS_WITHIN: Duration = Duration::from_secs(60);
/// A called party that heard nothing for so long after the last caller was gone is on a dead node.
const STRANDED_AFTER: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);

pub async fn judge(show: &mut Show) -> anyhow::Result<ExitCode> {
    calls_end(show).await?;
    show.tell_failure();
    if show.args.sabotage == Some(Sabotage::Phantom) {
        publish_phantoms(show);
    }
    if !show.platform.downstream.cdr.is_running() {
        show.platform.downstream.cdr.start().await?;
    }
    records_come_to_rest(show).await?;
    let path = show.platform.downstream.cdr.path().context("the call records run")?;
    if show.args.sabotage == Some(Sabotage::Double) {
        records::double(&path, sabotage::share_of(show.args.calls.unwrap_or(1))).await?;
    }
    let rebuilt = show.rebuild().await?;
    let snapshot = show.world.ledger.snapshot();
    let mut log = Records::open(&path).await?;
    let verdict = oracle::judge(&snapshot, &log.calls().await?, &log.legs().await?, &Rules::default());
    draw_one(show, &snapshot).await;
    let good = say(show, &verdict, &rebuilt);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until no carrier holds a call any more.
///
/// The called side of a call whose node died never hears of its end, so once all callers are done such parties hang up
/// themselves; callers that are still there past the limit are hung up too.
async fn calls_end(show: &mut Show) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut callers_done: Option<Instant> = None;
    let mut hung_up_at: Option<Instant> = None;
    // A caller may hold eight times the mean.
    let limit = CALLS_END_WITHIN.max(Duration::from_secs_f64(show.args.hold * 8.0 + 30.0));
    loop {
        show.look().await?;
        let open = show.world.open().await;
        if open.placed == 0 && open.received == 0 {
            return Ok(());
        }
        if open.placed == 0 {
            callers_done.get_or_insert_with(Instant::now);
        }
        let asked = show.stop.asked.is_cancelled();
        let stranded = callers_done.is_some_and(|since| since.elapsed() > STRANDED_AFTER);
        if (stranded || asked || started.elapsed() > limit) && hung_up_at.is_none() {
            hung_up_at = Some(Instant::now());
            let text = format!("{} callers and {} called parties hang up by themselves", open.placed, open.received);
            show.terminal.say("hang_up", &text, json!({ "callers": open.placed, "called": open.received }));
            show.world.hang_up_all().await;
        }
        if hung_up_at.is_some_and(|at| at.elapsed() > CALLS_END_WITHIN) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Everything accepted is in the log, everything in the log is in the rows, and no row is open any more.
async fn records_come_to_rest(show: &mut Show) -> anyhow::Result<()> {
    let started = Instant::now();
    let path = show.platform.downstream.cdr.path().context("the call records run")?;
    let mut log = Records::open(&path).await?;
    loop {
        show.look().await?;
        let late = started.elapsed() > RECORDS_WITHIN;
        if show.platform.base.queued() == 0 || late {
            show.platform.downstream.cdr.wait_caught_up(RECORDS_WITHIN).await?;
            let counts = log.counts(VISITOR).await?;
            if counts.rows == counts.closed || late {
                show.records_closed();
                return Ok(());
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn publish_phantoms(show: &Show) {
    let base = &show.platform.base;
    for number in 0..sabotage::share_of(show.args.calls.unwrap_or(1)) {
        let now = base.host.clock.now();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&number.to_be_bytes());
        let call = domain::CallId::new(now.wall_us, random);
        for event in sabotage::phantom(call, number, "edge-1", ORDINARY[0], NODES[0], now) {
            show.platform.saboteur.publish(event);
        }
    }
}

/// One call as a ladder: one that passed the edge twice if there was one.
async fn draw_one(show: &mut Show, snapshot: &Snapshot) {
    let rank = |kind: Kind| match kind {
        Kind::IvrAgent => 0,
        Kind::Bridged | Kind::BridgedFarEnds => 1,
        Kind::Authenticated => 2,
        _ => 3,
    };
    let Some(call) = snapshot.calls.iter().filter(|c| c.answered() && !c.attack).min_by_key(|c| rank(c.kind)) else {
        return;
    };
    match story::collect(show.platform.base.log.as_ref(), &call.call_id).await {
        Ok(story) if !story.is_empty() => {
            let text = format!("one call ({}):\n{}", call.kind, story.ladder(false));
            show.terminal.say("ladder", &text, json!({ "sip_call_id": &*call.call_id, "kind": call.kind.as_str() }));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(error = format!("{error:#}"), "no ladder"),
    }
}

fn say(show: &mut Show, verdict: &Verdict, rebuilt: &Rebuilt) -> bool {
    let attack = show.attack_report();
    let failure = show.failure_report();
    // A person may undo a block or kill nodes one after another: only a scripted run is judged by what was staged.
    let scripted = show.args.calls.is_some();
    let staged_well = !scripted || ((!attack.staged || attack.blocked) && (!failure.staged || failure.relieved));
    let good = verdict.is_clean() && verdict.calls == verdict.records && rebuilt.equal() && staged_well;
    let mut text = format!(
        "the oracle: {} calls ({} answered, {} failed), {} records; missing {}, doubled {}, phantom {}, untrue {}, legs missing {} \
         doubled {}; replay {}",
        verdict.calls,
        verdict.answered,
        verdict.failed,
        verdict.records,
        verdict.missing.count,
        verdict.doubled.count,
        verdict.phantom.count,
        verdict.wrong_count,
        verdict.missing_legs.count,
        verdict.doubled_legs.count,
        if rebuilt.equal() { "equal" } else { "DIFFERENT" },
    );
    for (what, finding) in [("missing", &verdict.missing), ("doubled", &verdict.doubled), ("phantom", &verdict.phantom)]
    {
        for example in finding.examples.iter().take(3) {
            text.push_str(&format!("\n  {what}: {example}"));
        }
    }
    for wrong in verdict.wrong.iter().take(5) {
        text.push_str(&format!(
            "\n  untrue: {} {}: carrier {} record {}",
            wrong.sip_call_id, wrong.field, wrong.ledger, wrong.record
        ));
    }
    text.push_str(if good { "\nthe books balance" } else { "\nTHE BOOKS DO NOT BALANCE" });
    show.terminal.say("verdict", &text, serde_json::to_value(verdict).unwrap_or_default());
    let result = json!({
        "calls": verdict.calls,
        "answered": verdict.answered,
        "failed": verdict.failed,
        "records": verdict.records,
        "missing": verdict.missing.count,
        "doubled": verdict.doubled.count,
        "phantom": verdict.phantom.count,
        "replay_equal": rebuilt.equal(),
        "wrong": verdict.wrong_count,
        "missing_legs": verdict.missing_legs.count,
        "doubled_legs": verdict.doubled_legs.count,
        "visitor_records": verdict.set_aside,
        "attack": attack,
        "node_failure": failure,
        "sha256": rebuilt.again,
        "peak_rss_mib": peak_rss_mib(),
        "good": good,
    });
    if !show.args.exit && !show.stop.asked.is_cancelled() {
        show.terminal.say("waiting", "all calls are judged; the page stays up until q or Ctrl-C", json!({}));
    }
    show.terminal.result(&result);
    good
}

/// The most memory that this process ever had in use.
fn peak_rss_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}
