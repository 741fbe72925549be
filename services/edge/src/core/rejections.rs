//! `sip.rejections`: what was refused without a call record, told once a second and however hard the flood.
//!
//! Memory is bounded: the heaviest sources of a second are counted each for itself (a source that finds the table full
//! takes the place of the lightest of a small sample and its count), all others share one row with an estimate of how many
//! they are, by linear counting over 8,192 bits.

use std::collections::HashMap;
use std::net::IpAddr;

use schemas::{RejectionCount, RejectionSample, SipRejections};

use super::Hop;

/// Rows per second, and sources counted at a time to find them.
const ROWS: usize = 256;
const COUNTED: usize = 2_048;
const BITS: usize = 8_192;

#[derive(Clone, Debug, Default)]
struct Row {
    messages: i64,
    bytes: i64,
    answered: i64,
    reasons: Vec<RejectionCount>,
    methods: Vec<RejectionCount>,
    listener: Option<usize>,
    trunk: Option<usize>,
    sample: Option<RejectionSample>,
}

#[derive(Debug)]
pub struct Rejections {
    sources: HashMap<IpAddr, Row>,
    trunks: HashMap<usize, Row>,
    others: Row,
    distinct: Vec<u64>,
    window_start_us: i64,
}

/// One refused message.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    pub hop: Hop,
    pub trunk: Option<usize>,
    pub bytes: usize,
    pub reason: &'a str,
    pub method: Option<&'a str>,
    pub answered: bool,
}

impl Default for Rejections {
    fn default() -> Rejections {
        Rejections {
            sources: HashMap::new(),
            trunks: HashMap::new(),
            others: Row::default(),
            distinct: vec![0; BITS / 64],
            window_start_us: 0,
        }
    }
}

impl Rejections {
    pub fn count(&mut self, wall_us: i64, refused: &Refused<'_>, sample: impl FnOnce() -> Option<RejectionSample>) {
        if self.window_start_us == 0 {
            self.window_start_us = wall_us;
        }
        let ip = refused.hop.addr.ip().to_canonical();
        if self.sources.len() < COUNTED || self.sources.contains_key(&ip) {
            let row = self.sources.entry(ip).or_default();
            if row.messages == 0 {
                row.sample = sample();
            }
            row.add(refused);
        } else {
            self.note_distinct(ip);
            self.others.add(refused);
        }
    }

    /// A refusal of a known trunk that has no event of its own because there were too many in this second.
    pub fn count_trunk(&mut self, wall_us: i64, trunk: usize, refused: &Refused<'_>) {
        if self.window_start_us == 0 {
            self.window_start_us = wall_us;
        }
        self.trunks.entry(trunk).or_default().add(refused);
    }

    fn note_distinct(&mut self, ip: IpAddr) {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        ip.hash(&mut hasher);
        let bit = hasher.finish() as usize % BITS;
        self.distinct[bit / 64] |= 1 << (bit % 64);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.window_start_us == 0
    }

    /// The rows of the window that ends now; the next one begins empty.
    pub fn close(
        &mut self,
        wall_us: i64,
        edge_id: &str,
        listener: impl Fn(usize) -> (String, &'static str),
        trunk_id: impl Fn(usize) -> String,
    ) -> Vec<SipRejections> {
        let start = std::mem::take(&mut self.window_start_us);
        let window_us = (wall_us - start).max(1);
        let head = |event_type: &str, source: String, row: Row| SipRejections {
            event_type: event_type.to_owned(),
            source,
            edge_id: edge_id.to_owned(),
            window_start_us: start,
            window_us,
            listener_id: row.listener.map(|l| listener(l).0),
            transport: row.listener.map(|l| listener(l).1.to_owned()),
            trunk_id: row.trunk.map(&trunk_id),
            messages: row.messages,
            bytes: row.bytes,
            answered: row.answered,
            reasons: row.reasons,
            methods: row.methods,
            sample: row.sample,
            ..SipRejections::default()
        };
        let mut heavy: Vec<(IpAddr, Row)> = self.sources.drain().collect();
        heavy.sort_by(|a, b| b.1.messages.cmp(&a.1.messages).then_with(|| a.0.cmp(&b.0)));
        for (ip, row) in heavy.split_off(heavy.len().min(ROWS)) {
            self.note_distinct(ip);
            self.others.merge(row);
        }
        let mut out: Vec<SipRejections> =
            heavy.into_iter().map(|(ip, row)| head("source", ip.to_string(), row)).collect();
        for (trunk, row) in self.trunks.drain() {
            out.push(head("trunk", format!("trunk/{}", trunk_id(trunk)), row));
        }
        let others = std::mem::take(&mut self.others);
        if others.messages > 0 {
            let (distinct, error) = self.estimate();
            let mut row = head("others", "others".to_owned(), others);
            row.distinct_sources = Some(distinct);
            row.distinct_error_percent = Some(error);
            out.push(row);
        }
        self.distinct.fill(0);
        out
    }

    /// Linear counting: −m ln(empty share); its standard error grows with the load.
    fn estimate(&self) -> (i64, f64) {
        let m = BITS as f64;
        let set: u32 = self.distinct.iter().map(|w| w.count_ones()).sum();
        let empty = (m - f64::from(set)).max(1.0);
        let n = m * (m / empty).ln();
        let load = n / m;
        let error = (m * (load.exp() - load - 1.0)).max(0.0).sqrt() / n.max(1.0) * 100.0;
        (n.round() as i64, error)
    }
}

impl Row {
    fn add(&mut self, refused: &Refused<'_>) {
        self.messages += 1;
        self.bytes += refused.bytes as i64;
        self.answered += i64::from(refused.answered);
        self.listener.get_or_insert(refused.hop.place());
        if self.trunk.is_none() {
            self.trunk = refused.trunk;
        }
        bump(&mut self.reasons, refused.reason, 1);
        if let Some(method) = refused.method {
            bump(&mut self.methods, method, 1);
        }
    }

    fn merge(&mut self, other: Row) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.answered += other.answered;
        self.listener = self.listener.or(other.listener);
        other.reasons.iter().for_each(|r| bump(&mut self.reasons, &r.name, r.count));
        other.methods.iter().for_each(|r| bump(&mut self.methods, &r.name, r.count));
    }
}

fn bump(counts: &mut Vec<RejectionCount>, name: &str, by: i64) {
    match counts.iter_mut().find(|c| c.name == name) {
        Some(found) => found.count += by,
        None => counts.push(RejectionCount { name: name.to_owned(), count: by }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::Event;
    use std::net::SocketAddr;

    fn refused(from: SocketAddr) -> Refused<'static> {
        Refused {
            hop: Hop::to(0, from),
            trunk: None,
            bytes: 100,
            reason: "unknown_source",
            method: None,
            answered: false,
        }
    }

    #[test]
    fn a_flood_of_sources_gives_a_bounded_number_of_rows_that_add_up() {
        let mut r = Rejections::default();
        for i in 0..20_000u32 {
            let from = SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + i % 10_000), 5060));
            r.count(7, &refused(from), || None);
        }
        let loud = SocketAddr::from(([10, 0, 0, 1], 9));
        (0..500).for_each(|_| r.count(8, &refused(loud), || None));
        r.count_trunk(8, 3, &refused(loud));
        let rows = r.close(1_000_007, "e", |_| ("l".into(), "udp"), |t| format!("t{t}"));
        assert_eq!(rows.len(), ROWS + 2);
        assert_eq!((rows[0].source.as_str(), rows[0].messages), ("10.0.0.1", 502));
        rows.iter().for_each(|row| row.check().unwrap());
        let total: i64 = rows.iter().filter(|r| r.event_type != "trunk").map(|r| r.messages).sum();
        assert_eq!(total, 20_500);
        let others = rows.last().unwrap();
        let distinct = others.distinct_sources.unwrap();
        assert!((9_300..10_200).contains(&distinct), "{distinct} of 9,744");
        assert!(r.is_empty());
    }
}
