//! Packets from addresses that no peer has: dropped unread, unanswered, at a cost that is told.
//!
//! The edge's CPU per dropped packet is what it used beyond the calls alone, user and system. On loopback the kernel's delivery into the
//! edge's socket is paid by whoever sends: that is shown too, for the edge and for a bare thread that reads the same flood and forgets it.

use std::path::Path;

use anyhow::ensure;

use super::flood::{Source, Wish};
use super::packets::Text;
use super::stand::{RATE, Stand, all_good, success};
use super::{Scale, sink};
use crate::calls::quantile;
use crate::figures::{Figures, Gate};

const MIN_SUCCESS: f64 = 99.9;
const MAX_US: f64 = 4.0;
const MAX_GROWTH_MIB: f64 = 64.0;

pub fn run(binary: &Path, scale: Scale, figures: &mut Figures) -> anyhow::Result<()> {
    println!("{:.0} packets/s from unknown sources beside {RATE:.0} calls/s", scale.unknown_per_s);
    let mut stand = Stand::new(binary)?;
    let rates = [RATE, 0.0];
    let alone = stand.window(rates, scale.window, scale, None)?;
    all_good(&alone.tallies)?;
    let usual = quantile(&alone.tallies[0].setups, 99.0);
    let resident = stand.edge.resident()?;
    let to = stand.edge.trunk_side;
    let wish = Wish { source: Source::Anybody, to, per_second: scale.unknown_per_s, text: Text::Options };
    let denied = stand.edge.metric("edge_denied_packets")?;
    let lost = lost_in_buffer(to.port())?;
    let beside = stand.window(rates, scale.window, scale, Some(wish))?;
    let flood = beside.flood.unwrap_or_default();
    // The last tenth of a second may not be in the counters yet.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let denied = stand.edge.metric("edge_denied_packets")? - denied;
    let lost = lost_in_buffer(to.port())?.saturating_sub(lost);
    let seen = (denied + lost as f64) / flood.sent as f64;
    ensure!(seen > 0.999, "void: of {} packets {denied} were dropped and {lost} lost in the buffer", flood.sent);

    let tally = &beside.tallies[0];
    let gate = Gate::AtLeast(MIN_SUCCESS);
    figures.check("unknown_success_percent", "calls that succeed", success(tally, usual), "%", gate);
    figures.show("unknown_setup_p99_ms", "set-up p99", quantile(&tally.setups, 99.0) / 1e3, "ms");
    figures.show("unknown_setup_alone_p99_ms", "set-up p99 without the flood", usual / 1e3, "ms");
    figures.check("unknown_bytes_back", "bytes sent back", flood.bytes_back as f64, "", Gate::AtMost(0.0));
    figures.show("unknown_packets_per_s", "packets sent", flood.per_second(), "/s");
    figures.show(
        "unknown_lost_percent",
        "of them lost in the socket's buffer",
        lost as f64 / flood.sent as f64 * 100.0,
        "%",
    );
    // Both windows were as long; the flood also ran before and after its own.
    let inside = beside.time.as_secs_f64() * flood.per_second();
    let us = beside.cpu.saturating_sub(alone.cpu).as_secs_f64() * 1e6 / inside;
    figures.check("unknown_us_per_packet", "CPU of the edge per dropped packet", us, "µs", Gate::AtMost(MAX_US));
    let grown = stand.edge.resident()?.saturating_sub(resident) as f64 / f64::from(1 << 20);
    figures.check("unknown_growth_mib", "more memory", grown, "MiB", Gate::AtMost(MAX_GROWTH_MIB));
    let (bare, sprayed) = sink::run(&stand.flooder, |to| Wish { to, ..wish }, scale.window / 4)?;
    figures.show("sink_us_per_packet", "CPU of a bare thread that reads and forgets", bare, "µs");
    figures.show("sink_ratio", "ratio", us / bare, "");
    figures.show("send_us_per_packet", "CPU of the sender and of delivery to the edge", flood.cpu_us(), "µs");
    figures.show("send_us_to_sink", "the same to the bare thread", sprayed.cpu_us(), "µs");
    Ok(())
}

/// Datagrams that the kernel threw away because the socket at that port was full.
fn lost_in_buffer(port: u16) -> anyhow::Result<u64> {
    Ok(drops(&std::fs::read_to_string("/proc/net/udp")?, port))
}

fn drops(table: &str, port: u16) -> u64 {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, at) = fields.get(1)?.rsplit_once(':')?;
        (u16::from_str_radix(at, 16).ok()? == port).then(|| fields.last()?.parse::<u64>().ok()).flatten()
    };
    table.lines().skip(1).filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_a_socket_are_the_last_field_of_its_line() {
        let table = "sl local rem st tx rx tr tm retrnsmt uid timeout inode ref pointer drops\n \
            1: 0100007F:13C4 00000000:0000 07 0:0 00:0 0 0 0 17 2 0 42\n \
            2: 0100007F:13C5 00000000:0000 07 0:0 00:0 0 0 0 18 2 0 7\n";
        assert_eq!((drops(table, 5060), drops(table, 5061), drops(table, 9)), (42, 7, 0));
    }
}
