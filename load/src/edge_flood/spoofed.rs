//! Packets from a trunk's own address and port. By UDP an address proves nothing, so nobody may be blocked for them, and the trunk's own
//! calls must go on: what is sent twice, as whoever waits for an answer does, is told from what is sent once.

use std::path::Path;

use super::Scale;
use super::flood::{Source, Wish};
use super::packets::Text;
use super::stand::{CPS, RATE, Stand, all_good, success};
use crate::calls::quantile;
use crate::figures::{Figures, Gate};

const MIN_SUCCESS: f64 = 99.0;
const MIN_OTHERS: f64 = 99.9;
/// Counting may be off by so much.
const SLACK: f64 = 1.02;
/// What the edge's log says of a trunk whose address is forged beyond telling.
const ALARM: &str = "tls or ipsec";

struct Flood {
    text: Text,
    name: &'static str,
    success: &'static str,
    others: &'static str,
    setup: &'static str,
    rules: &'static str,
}

const FLOODS: [Flood; 4] = [
    Flood {
        text: Text::Garbage,
        name: "garbage",
        success: "garbage_success_percent",
        others: "garbage_others_percent",
        setup: "garbage_setup_p99_ms",
        rules: "garbage_rules",
    },
    Flood {
        text: Text::Options,
        name: "OPTIONS",
        success: "options_success_percent",
        others: "options_others_percent",
        setup: "options_setup_p99_ms",
        rules: "options_rules",
    },
    Flood {
        text: Text::Register,
        name: "REGISTER",
        success: "register_success_percent",
        others: "register_others_percent",
        setup: "register_setup_p99_ms",
        rules: "register_rules",
    },
    Flood {
        text: Text::Invite,
        name: "INVITEs that never come twice",
        success: "invite_success_percent",
        others: "invite_others_percent",
        setup: "invite_setup_p99_ms",
        rules: "invite_rules",
    },
];

pub fn run(binary: &Path, scale: Scale, figures: &mut Figures) -> anyhow::Result<()> {
    for flood in &FLOODS {
        println!(
            "{:.0} packets/s from a trunk's address beside its {RATE:.0} calls/s: {}",
            scale.spoofed_per_s, flood.name
        );
        let mut stand = Stand::new(binary)?;
        let alone = stand.window([RATE; 2], scale.window / 2, scale, None)?;
        all_good(&alone.tallies)?;
        let usual = quantile(&alone.tallies[0].setups, 99.0);
        let wish = wish(&stand, flood.text, scale);
        let beside = stand.window([RATE; 2], scale.window, scale, Some(wish))?;
        let [own, other] = &beside.tallies;
        let (limit, none) = (Gate::AtLeast(MIN_SUCCESS), Gate::AtMost(0.0));
        figures.check(flood.success, "the trunk's calls that succeed", success(own, usual), "%", limit);
        figures.show(flood.others, "another trunk's", success(other, usual), "%");
        figures.show(flood.setup, "set-up p99 of the trunk's calls", quantile(&own.setups, 99.0) / 1e3, "ms");
        let rules = stand.rules()?;
        figures.check(flood.rules, "rules that block", rules as f64, "", none);
        println!("  forged INVITEs that reached the nodes: {} in {} s", beside.strangers, scale.window.as_secs());
    }
    Ok(())
}

fn wish(stand: &Stand, text: Text, scale: Scale) -> Wish {
    Wish { source: Source::One(stand.forged()), to: stand.edge.trunk_side, per_second: scale.spoofed_per_s, text }
}

/// INVITEs like the trunk's own, copies included: it is held to its limit, and others do not notice.
pub fn mimic(binary: &Path, scale: Scale, figures: &mut Figures) -> anyhow::Result<()> {
    println!("{:.0} packets/s from a trunk's address: INVITEs like its own", scale.spoofed_per_s);
    let mut stand = Stand::new(binary)?;
    let alone = stand.window([RATE; 2], scale.window / 2, scale, None)?;
    all_good(&alone.tallies)?;
    let usual = quantile(&alone.tallies[1].setups, 99.0);
    let wish = wish(&stand, Text::InviteTwice, scale);
    let beside = stand.window([RATE; 2], scale.window, scale, Some(wish))?;
    let [own, other] = &beside.tallies;
    let limit = Gate::AtLeast(MIN_OTHERS);
    figures.check("mimic_others_percent", "another trunk's calls that succeed", success(other, usual), "%", limit);
    figures.show("mimic_own_percent", "the trunk's own", success(own, usual), "%");
    let let_in = (beside.strangers + own.answered) as f64 / beside.time.as_secs_f64();
    figures.check("mimic_let_in_per_s", "INVITEs of the trunk let in", let_in, "/s", Gate::AtMost(CPS * SLACK));
    let rules = stand.rules()?;
    figures.check("mimic_rules", "rules that block", rules as f64, "", Gate::AtMost(0.0));
    let alarms = stand.edge.said().lines().filter(|line| line.to_lowercase().contains(ALARM)).count();
    figures.check("mimic_alarms", "alarms that name TLS or IPsec", alarms as f64, "", Gate::AtLeast(1.0));
    figures.check("mimic_alarms_most", "no more than one of them", alarms as f64, "", Gate::AtMost(1.0));
    Ok(())
}
