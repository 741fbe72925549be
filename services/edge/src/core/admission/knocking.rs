//! Who knocks and is not let in: told once, then hourly, with the lines that would let it in.
//!
//! Fed once a second from the rows of `sip.rejections`, so a flood costs nothing more here. Of thousands of forged addresses a few
//! are told per minute and the rest is counted; the table holds 1,024 of them, and who knocked least and longest ago goes first.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use super::rejections::Stranger;

const MOST: usize = 1_024;
const HOUR_US: u64 = 3_600_000_000;
const MINUTE_US: u64 = 60_000_000;
/// Told in one minute, new ones and hourly ones together.
const TOLD_PER_MINUTE: u32 = 20;

/// A source that is neither trunk nor node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Knock {
    pub source: String,
    pub listener: Option<String>,
    pub transport: Option<&'static str>,
    /// Port that it last sent from.
    pub port: u16,
    /// Messages and connections since it was first seen.
    pub messages: u64,
    /// µs since 1970 UTC.
    pub first_us: i64,
    pub last_us: i64,
    /// Settings that would let it in.
    pub admit: String,
}

/// For the log: one source, with what happened since it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub knock: Knock,
    /// Since it was last told.
    pub messages: u64,
    /// Sources that were not told because there were too many of them.
    pub untold: u64,
}

#[derive(Debug)]
struct Entry {
    knock: Knock,
    told_at: Option<u64>,
    since_told: u64,
}

#[derive(Debug, Default)]
pub struct Knocking {
    sources: HashMap<IpAddr, Entry>,
    /// What the outside sees, made anew with each window.
    shown: Arc<Vec<Knock>>,
    minute: u64,
    told: u32,
    untold: u64,
}

impl Knocking {
    /// Takes the strangers of one window and gives those that are to be logged.
    pub fn note(
        &mut self,
        (wall_us, mono_us): (i64, u64),
        strangers: &[Stranger],
        listener: &dyn Fn(usize) -> (String, &'static str),
    ) -> Vec<Told> {
        if mono_us / MINUTE_US != self.minute {
            (self.minute, self.told) = (mono_us / MINUTE_US, 0);
        }
        let mut out = Vec::new();
        self.make_room(strangers);
        for stranger in strangers {
            let ip = stranger.from.ip().to_canonical();
            if !self.sources.contains_key(&ip) && self.sources.len() >= MOST {
                self.untold += 1;
                continue;
            }
            let entry = self.sources.entry(ip).or_insert_with(|| Entry {
                knock: Knock { source: ip.to_string(), first_us: wall_us, admit: admit_lines(ip), ..Knock::default() },
                told_at: None,
                since_told: 0,
            });
            let knock = &mut entry.knock;
            if let Some((id, transport)) = stranger.listener.map(listener) {
                (knock.listener, knock.transport) = (Some(id), Some(transport));
            }
            (knock.port, knock.last_us) = (stranger.from.port(), wall_us);
            knock.messages += stranger.messages;
            entry.since_told += stranger.messages;
            if entry.told_at.is_some_and(|at| mono_us < at + HOUR_US) {
                continue;
            }
            if self.told >= TOLD_PER_MINUTE {
                self.untold += u64::from(entry.told_at.is_none());
                continue;
            }
            self.told += 1;
            entry.told_at = Some(mono_us);
            let messages = std::mem::take(&mut entry.since_told);
            out.push(Told { knock: entry.knock.clone(), messages, untold: std::mem::take(&mut self.untold) });
        }
        if !strangers.is_empty() {
            self.show();
        }
        out
    }

    /// Forgets the lightest, as many as new ones come.
    fn make_room(&mut self, strangers: &[Stranger]) {
        let is_new = |s: &&Stranger| !self.sources.contains_key(&s.from.ip().to_canonical());
        let wanted = (self.sources.len() + strangers.iter().filter(is_new).count()).saturating_sub(MOST);
        if wanted == 0 {
            return;
        }
        let mut order: Vec<(u64, i64, IpAddr)> =
            self.sources.iter().map(|(ip, e)| (e.knock.messages, e.knock.last_us, *ip)).collect();
        order.sort_unstable();
        for (.., ip) in order.into_iter().take(wanted) {
            self.sources.remove(&ip);
        }
    }

    fn show(&mut self) {
        let mut all: Vec<Knock> = self.sources.values().map(|e| e.knock.clone()).collect();
        all.sort_unstable_by(|a, b| b.messages.cmp(&a.messages).then_with(|| a.source.cmp(&b.source)));
        self.shown = Arc::new(all);
    }

    /// The loudest first, as of the last second.
    #[must_use]
    pub fn list(&self) -> Arc<Vec<Knock>> {
        Arc::clone(&self.shown)
    }

    /// Forgets whoever is let in by now.
    pub fn retain(&mut self, is_stranger: impl Fn(SocketAddr) -> bool) {
        self.sources.retain(|ip, e| is_stranger(SocketAddr::new(*ip, e.knock.port)));
        self.show();
    }
}

/// What an operator puts into the settings, as it stands.
fn admit_lines(ip: IpAddr) -> String {
    let id: String = ip.to_string().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("[[edge.trunks]]\nid = \"from-{}\"\nsources = [\"{ip}\"]\n", id.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: [u8; 4], messages: u64) -> Stranger {
        Stranger { from: SocketAddr::from((ip, 5062)), listener: Some(0), messages }
    }

    fn note(k: &mut Knocking, second: u64, strangers: &[Stranger]) -> Vec<Told> {
        k.note((second as i64 * 1_000_000, second * 1_000_000), strangers, &|_| ("trunks".into(), "udp"))
    }

    #[test]
    fn a_source_is_told_once_and_then_hourly_with_its_count_and_the_lines_that_let_it_in() {
        let mut k = Knocking::default();
        let me = [203, 0, 113, 9];
        let told = note(&mut k, 1, &[from(me, 3)]);
        assert_eq!((told.len(), told[0].messages, told[0].knock.source.as_str()), (1, 3, "203.0.113.9"));
        for second in 2..3_600 {
            assert!(note(&mut k, second, &[from(me, 1)]).is_empty());
        }
        let told = note(&mut k, 3_601, &[from(me, 1)]);
        assert_eq!((told[0].messages, told[0].knock.messages), (3_599, 3_602));
        let text = format!("[edge]\n{}", told[0].knock.admit);
        let settings: toml::Table = toml::from_str(&text).unwrap();
        let config: crate::config::Config = settings["edge"].clone().try_into().unwrap();
        assert!(config.trunks[0].sources[0].contains(SocketAddr::from((me, 1))));
        assert!(admit_lines("2001:db8::1".parse().unwrap()).contains("[\"2001:db8::1\"]"));
    }

    #[test]
    fn a_flood_of_forged_addresses_neither_fills_the_log_nor_pushes_out_who_knocks_on() {
        let mut k = Knocking::default();
        note(&mut k, 1, &[from([203, 0, 113, 9], 50)]);
        let (mut lines, mut untold) = (0, 0);
        for second in 2..122u32 {
            let forged: Vec<Stranger> =
                (0..256).map(|i| from((0x0a00_0000 + second * 256 + i).to_be_bytes(), 1)).collect();
            let told = note(&mut k, u64::from(second), &forged);
            lines += told.len();
            untold += told.iter().map(|t| t.untold).sum::<u64>();
        }
        assert!(lines <= 3 * TOLD_PER_MINUTE as usize, "{lines} lines in two minutes of flood");
        assert!(untold > 20_000, "{untold}");
        assert_eq!(k.list().len(), MOST);
        assert_eq!(k.list()[0].source, "203.0.113.9");
    }
}
