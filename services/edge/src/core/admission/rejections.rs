//! `sip.rejections`: what was refused without a call record, told once a second and however hard the flood.
//!
//! Every message is counted exactly once: in the row of its source, in that of its trunk, or in the row of all others. Sources are
//! counted in a table of fixed size. Each has a weight beside its count; a source that finds its set full takes one off the
//! lightest weight there, and the place when nothing is left of it. So sources that send once come and go, those that send much
//! stay, whenever they began (Misra and Gries 1982). What a source had counted when it lost its place goes to the others.

use std::net::SocketAddr;

use schemas::{RejectionCount, RejectionSample, SipRejections};

use super::distinct::Distinct;
use super::mix::Mixer;
use crate::core::Hop;

/// Rows per second.
const ROWS: usize = 256;
/// Sources counted at a time to find them: 4,096, in about 2 MiB.
const SETS: usize = 512;
const WAYS: usize = 8;
/// Different reasons or methods in one row; what comes after them shares the last.
const NAMES: usize = 8;
const REST: &str = "other";

/// How many messages had each name. Adds up, whatever happens.
#[derive(Clone, Copy, Debug, Default)]
struct Tally([(&'static str, u32); NAMES]);

impl Tally {
    fn add(&mut self, name: &'static str, by: u32) {
        let fits =
            |(known, count): &&mut (&'static str, u32)| *count == 0 || std::ptr::eq(*known, name) || *known == name;
        match self.0[..NAMES - 1].iter_mut().find(fits) {
            Some(entry) => *entry = (name, entry.1.saturating_add(by)),
            None => self.0[NAMES - 1] = (REST, self.0[NAMES - 1].1.saturating_add(by)),
        }
    }

    fn merge(&mut self, other: &Tally) {
        other.0.iter().filter(|(_, count)| *count > 0).for_each(|&(name, count)| self.add(name, count));
    }

    fn sum(&self) -> i64 {
        self.0.iter().map(|(_, count)| i64::from(*count)).sum()
    }

    fn of(&self, name: &str) -> u32 {
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, count)| count).sum()
    }

    fn counts(&self) -> Vec<RejectionCount> {
        let told = self.0.iter().filter(|(_, count)| *count > 0);
        told.map(|&(name, count)| RejectionCount { name: name.to_owned(), count: i64::from(count) }).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Row {
    from: Option<SocketAddr>,
    bytes: i64,
    answered: i64,
    reasons: Tally,
    methods: Tally,
    listener: Option<usize>,
    trunk: Option<usize>,
    sample: Option<Box<RejectionSample>>,
}

/// Which source has a place, and what it takes to push it out. One set is one line of the processor's cache.
#[derive(Clone, Copy, Debug, Default)]
struct Claim {
    tag: u32,
    weight: u32,
}

#[derive(Debug)]
pub struct Rejections {
    claims: Vec<[Claim; WAYS]>,
    rows: Vec<Row>,
    /// Places in use.
    used: Vec<u32>,
    trunks: Vec<Row>,
    others: Row,
    distinct: Distinct,
    mixer: Mixer,
    window_start_us: i64,
}

/// One refused message.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    pub hop: Hop,
    pub trunk: Option<usize>,
    pub bytes: usize,
    pub reason: &'static str,
    pub method: Option<&'static str>,
    pub answered: bool,
}

/// A source that is nobody's, in one window.
#[derive(Clone, Copy, Debug)]
pub struct Stranger {
    pub from: SocketAddr,
    pub listener: Option<usize>,
    pub messages: u64,
}

/// The words for what the tables know by place.
pub struct Names<'a> {
    pub edge_id: &'a str,
    pub listener: &'a dyn Fn(usize) -> (String, &'static str),
    pub trunk: &'a dyn Fn(usize) -> String,
}

impl Rejections {
    #[must_use]
    pub fn new(mixer: Mixer) -> Rejections {
        Rejections {
            claims: vec![[Claim::default(); WAYS]; SETS],
            rows: vec![Row::default(); SETS * WAYS],
            used: Vec::with_capacity(SETS * WAYS),
            trunks: Vec::new(),
            others: Row::default(),
            distinct: Distinct::default(),
            mixer,
            window_start_us: 0,
        }
    }

    pub fn count(&mut self, wall_us: i64, refused: &Refused, sample: impl FnOnce() -> Option<RejectionSample>) {
        self.open(wall_us);
        let hash = self.mixer.address(refused.hop.addr.ip().to_canonical());
        let (set, tag) = ((hash >> 32) as usize % SETS, hash as u32 | 1);
        let claims = &mut self.claims[set];
        let at = match claims.iter().position(|c| c.tag == tag) {
            Some(at) => at,
            None => {
                // Of equally light ones any: always the first would push out whoever came last.
                let first = hash as usize >> 1;
                let at = (first..first + WAYS).map(|at| at % WAYS).min_by_key(|&at| claims[at].weight).unwrap_or(0);
                let light = &mut claims[at];
                if light.tag == 0 {
                    self.used.push((set * WAYS + at) as u32);
                } else {
                    light.weight -= 1;
                    if light.weight > 0 {
                        self.distinct.note(hash);
                        return self.others.add(refused);
                    }
                    self.retire(set * WAYS + at);
                }
                self.claims[set][at] = Claim { tag, weight: 0 };
                let row = &mut self.rows[set * WAYS + at];
                row.from = Some(refused.hop.addr);
                row.sample = sample().map(Box::new);
                at
            }
        };
        self.claims[set][at].weight = self.claims[set][at].weight.saturating_add(1);
        self.rows[set * WAYS + at].add(refused);
    }

    /// A refusal of a known trunk that has no event of its own because there were too many in this second.
    pub fn count_trunk(&mut self, wall_us: i64, trunk: usize, refused: &Refused) {
        self.open(wall_us);
        if self.trunks.len() <= trunk {
            self.trunks.resize(trunk + 1, Row::default());
        }
        self.trunks[trunk].add(refused);
    }

    fn open(&mut self, wall_us: i64) {
        if self.window_start_us == 0 {
            self.window_start_us = wall_us;
        }
    }

    /// Puts what a place has counted to the others.
    fn retire(&mut self, place: usize) {
        let row = std::mem::take(&mut self.rows[place]);
        if let Some(from) = row.from {
            self.distinct.note(self.mixer.address(from.ip().to_canonical()));
        }
        self.others.merge(&row);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.window_start_us == 0
    }

    /// The rows of the window that ends now, and who of them is a stranger; the next window begins empty.
    pub fn close(&mut self, wall_us: i64, names: &Names<'_>) -> (Vec<SipRejections>, Vec<Stranger>) {
        let start = std::mem::take(&mut self.window_start_us);
        let window_us = (wall_us - start).max(1);
        let head = |event_type: &str, source: String, row: Row| SipRejections {
            event_type: event_type.to_owned(),
            source,
            edge_id: names.edge_id.to_owned(),
            window_start_us: start,
            window_us,
            listener_id: row.listener.map(|l| (names.listener)(l).0),
            transport: row.listener.map(|l| (names.listener)(l).1.to_owned()),
            trunk_id: row.trunk.map(names.trunk),
            messages: row.messages(),
            bytes: row.bytes,
            answered: row.answered,
            reasons: row.reasons.counts(),
            methods: row.methods.counts(),
            sample: row.sample.map(|s| *s),
            ..SipRejections::default()
        };
        let mut heavy = std::mem::take(&mut self.used);
        let order = |&place: &u32| {
            let row = &self.rows[place as usize];
            (std::cmp::Reverse(row.messages()), row.from.map(|f| f.ip()))
        };
        heavy.sort_by_cached_key(order);
        let (mut out, mut strangers) = (Vec::with_capacity(heavy.len().min(ROWS) + 2), Vec::new());
        for (rank, &place) in heavy.iter().enumerate() {
            self.claims[place as usize / WAYS][place as usize % WAYS] = Claim::default();
            if rank >= ROWS {
                self.retire(place as usize);
                continue;
            }
            let row = std::mem::take(&mut self.rows[place as usize]);
            let Some(from) = row.from else { continue };
            let unknown = row.reasons.of(UNKNOWN_SOURCE);
            if unknown > 0 {
                strangers.push(Stranger { from, listener: row.listener, messages: u64::from(unknown) });
            }
            out.push(head("source", from.ip().to_canonical().to_string(), row));
        }
        heavy.clear();
        self.used = heavy;
        for trunk in 0..self.trunks.len() {
            let row = std::mem::take(&mut self.trunks[trunk]);
            if row.messages() > 0 {
                out.push(head("trunk", format!("trunk/{}", (names.trunk)(trunk)), row));
            }
        }
        let others = std::mem::take(&mut self.others);
        if others.messages() > 0 {
            let mut row = head("others", "others".to_owned(), others);
            row.distinct_sources = Some(self.distinct.estimate().round() as i64);
            row.distinct_error_percent = Some(Distinct::ERROR_PERCENT);
            out.push(row);
        }
        self.distinct.clear();
        (out, strangers)
    }
}

/// The reason of whoever is neither trunk nor node.
pub const UNKNOWN_SOURCE: &str = "unknown_source";

impl Row {
    fn messages(&self) -> i64 {
        self.reasons.sum()
    }

    fn add(&mut self, refused: &Refused) {
        self.bytes += refused.bytes as i64;
        self.answered += i64::from(refused.answered);
        self.listener.get_or_insert(refused.hop.place());
        if self.trunk.is_none() {
            self.trunk = refused.trunk;
        }
        self.reasons.add(refused.reason, 1);
        if let Some(method) = refused.method {
            self.methods.add(method, 1);
        }
    }

    fn merge(&mut self, other: &Row) {
        self.bytes += other.bytes;
        self.answered += other.answered;
        self.listener = self.listener.or(other.listener);
        self.reasons.merge(&other.reasons);
        self.methods.merge(&other.methods);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::Event;

    fn refused(from: SocketAddr) -> Refused {
        let hop = Hop::to(0, from);
        Refused { hop, trunk: None, bytes: 100, reason: UNKNOWN_SOURCE, method: None, answered: false }
    }

    fn close(r: &mut Rejections) -> (Vec<SipRejections>, Vec<Stranger>) {
        let names = Names { edge_id: "e", listener: &|_| ("l".into(), "udp"), trunk: &|t| format!("t{t}") };
        r.close(1_000_007, &names)
    }

    fn flooded(sources: u32, packets: u32) -> Rejections {
        let mut r = Rejections::new(Mixer::new(1, 2));
        for i in 0..packets {
            let from = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + i % sources), 5060));
            r.count(7, &refused(from), || None);
        }
        r
    }

    #[test]
    fn a_flood_of_sources_gives_a_bounded_number_of_rows_that_add_up() {
        let mut r = flooded(60_000, 60_000);
        // Begins in the middle of the flood and is found all the same.
        let loud = SocketAddr::from(([10, 0, 0, 1], 9));
        (0..500).for_each(|_| r.count(8, &refused(loud), || None));
        for i in 0..30_000u32 {
            let from = SocketAddr::from((std::net::Ipv4Addr::from(0x0b00_0000 + i), 5060));
            r.count(9, &refused(from), || None);
        }
        r.count_trunk(8, 3, &refused(loud));
        let (rows, strangers) = close(&mut r);
        assert_eq!(rows.len(), ROWS + 2);
        assert_eq!(strangers.len(), ROWS);
        assert_eq!(rows[0].source.as_str(), "10.0.0.1");
        assert!((495..=501).contains(&rows[0].messages), "{}", rows[0].messages);
        rows.iter().for_each(|row| row.check().unwrap());
        let total: i64 = rows.iter().filter(|r| r.event_type != "trunk").map(|r| r.messages).sum();
        assert_eq!(total, 90_500);
        let others = rows.last().unwrap();
        let distinct = others.distinct_sources.unwrap() as f64;
        assert!((distinct / 89_745.0 - 1.0).abs() < 0.07, "{distinct} of 89,745");
        assert!(r.is_empty());
        assert!(close(&mut r).0.is_empty(), "the next window begins empty");
    }

    #[test]
    fn the_loudest_have_rows_however_many_whisper() {
        let mut r = flooded(40_000, 20_000);
        for round in 0..20 {
            for i in 0..100u8 {
                let from = SocketAddr::from(([192, 0, 2, i], 5060));
                r.count(round, &refused(from), || None);
            }
            for i in 0..2_000u32 {
                let from = SocketAddr::from((std::net::Ipv4Addr::from(0x0c00_0000 + round as u32 * 2_000 + i), 1));
                r.count(round, &refused(from), || None);
            }
        }
        let (rows, _) = close(&mut r);
        let loud = rows.iter().filter(|row| row.source.starts_with("192.0.2.") && row.messages >= 14).count();
        assert!(loud >= 95, "{loud} of 100");
    }

    #[test]
    fn names_beyond_the_table_share_one_and_nothing_is_lost() {
        let mut tally = Tally::default();
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "a"].into_iter().for_each(|name| tally.add(name, 2));
        assert_eq!((tally.of("a"), tally.of(REST), tally.sum()), (4, 4, 20));
        let mut other = Tally::default();
        other.add("z", 1);
        other.merge(&tally);
        assert_eq!(other.sum(), 21);
    }
}
