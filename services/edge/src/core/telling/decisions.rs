//! The last decisions about calls, kept in memory for "why did this call go there" and "what would this rule have blocked".
//!
//! Each is a record of a few hundred bytes in a ring of fixed size; the oldest make room. Writing one copies texts that the event
//! holds already: nothing is allocated and nothing is looked up. A reader walks the ring from the oldest to the newest; there is
//! no index, for 100,000 records are read in a few milliseconds and asked for seldom.

use domain::CallId;
use schemas::SipTransaction;
use serde::Serialize;

/// What a decision takes on average, with long names and three candidates; more of them per byte fit when they are shorter.
pub const BYTES_EACH: usize = 448;
/// So long is a record at most, and a text in it.
const RECORD: usize = 4_096;
const TEXT: usize = 255;
/// Stands where a record's length would, when the next one begins at the front.
const WRAP: u16 = u16::MAX;
const HEAD: usize = 2;

/// Records in the order in which they were made.
#[derive(Debug)]
pub struct Ring {
    bytes: Vec<u8>,
    first: usize,
    next: usize,
    used: usize,
    most: usize,
    decisions: usize,
    dropped: u64,
}

/// How far back the records reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Decisions that are held.
    pub decisions: usize,
    /// When the oldest of them was made (µs since 1970 UTC); none without any.
    pub since_us: Option<i64>,
    /// Nothing was forgotten since the edge started.
    pub since_start: bool,
}

impl Ring {
    /// For so many decisions; 0 keeps none.
    #[must_use]
    pub fn new(most: usize) -> Ring {
        let bytes = if most == 0 { 0 } else { most.saturating_mul(BYTES_EACH).max(4 * RECORD) };
        // Zeroed pages take no memory before they are written.
        Ring { bytes: vec![0; bytes], first: 0, next: 0, used: 0, most, decisions: 0, dropped: 0 }
    }

    /// Puts a record of [`write()`] behind all others.
    pub fn push(&mut self, record: &[u8]) {
        let need = HEAD + record.len();
        if record.is_empty() || record.len() > RECORD || self.bytes.len() < 2 * need {
            return;
        }
        let rest = self.bytes.len() - self.next;
        let waste = if rest < need { rest } else { 0 };
        let decides = Kind::of(record).is_decision();
        while self.bytes.len() - self.used < waste + need || (decides && self.decisions >= self.most) {
            self.drop_first();
        }
        if waste > 0 {
            if rest >= HEAD {
                self.bytes[self.next..self.next + HEAD].copy_from_slice(&WRAP.to_be_bytes());
            }
            self.used += waste;
            self.next = 0;
        }
        let at = self.next;
        self.bytes[at..at + HEAD].copy_from_slice(&(record.len() as u16).to_be_bytes());
        self.bytes[at + HEAD..at + need].copy_from_slice(record);
        self.used += need;
        self.next = if at + need == self.bytes.len() { 0 } else { at + need };
        self.decisions += usize::from(decides);
    }

    /// From the oldest to the newest.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let (mut at, mut left) = (self.first, self.used);
        std::iter::from_fn(move || {
            if left > 0 && self.length(at).is_none() {
                left -= self.bytes.len() - at;
                at = 0;
            }
            let length = if left > 0 { self.length(at)? } else { return None };
            let record = &self.bytes[at + HEAD..at + HEAD + length];
            at += HEAD + length;
            left -= HEAD + length;
            if at == self.bytes.len() {
                at = 0;
            }
            Some(record)
        })
    }

    #[must_use]
    pub fn reach(&self) -> Reach {
        let oldest = self.records().find(|record| Kind::of(record).is_decision());
        Reach {
            decisions: self.decisions,
            since_us: oldest.map(|record| Reader::new(record).head().occurred_us),
            since_start: self.dropped == 0,
        }
    }

    /// None where the ring goes on at its front.
    fn length(&self, at: usize) -> Option<usize> {
        let head = self.bytes.get(at..at + HEAD)?;
        let length = u16::from_be_bytes([head[0], head[1]]);
        (length != WRAP).then_some(usize::from(length))
    }

    fn drop_first(&mut self) {
        let Some(length) = self.length(self.first) else {
            self.used -= self.bytes.len() - self.first;
            self.first = 0;
            return;
        };
        let decides = Kind::of(&self.bytes[self.first + HEAD..]).is_decision();
        self.decisions -= usize::from(decides);
        self.dropped += u64::from(decides);
        self.used -= HEAD + length;
        self.first += HEAD + length;
        if self.first == self.bytes.len() {
            self.first = 0;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Forwarded, with the choice of the next hop.
    Attempt,
    /// Answered by the edge itself.
    Refused,
    /// How it ended, for a call that was forwarded.
    Answered,
    Failed,
}

impl Kind {
    fn of(record: &[u8]) -> Kind {
        match record.first() {
            Some(0) => Kind::Attempt,
            Some(1) => Kind::Refused,
            Some(2) => Kind::Answered,
            _ => Kind::Failed,
        }
    }

    #[must_use]
    pub fn is_decision(self) -> bool {
        matches!(self, Kind::Attempt | Kind::Refused)
    }
}

/// What every record begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub occurred_us: i64,
    pub call: [u8; 16],
    pub attempt: u8,
    pub status: u16,
}

const HEAD_BYTES: usize = 1 + 8 + 16 + 1 + 2;

macro_rules! texts {
    ($e:ident; $($(#[$doc:meta])* $name:ident = $get:expr;)*) => {
        /// One decision as it was made; texts point into the ring.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Decision<'a> {
            $($(#[$doc])* pub $name: &'a str,)*
            pub source_port: u16,
            pub limit_tokens_left: Option<f64>,
            pub candidates: Vec<Scored<'a>>,
            pub shadow_blocks: Vec<&'a str>,
        }

        fn texts($e: &SipTransaction, out: &mut Vec<u8>) {
            $(text($get, out);)*
        }

        fn read_texts<'a>(reader: &mut Reader<'a>) -> Decision<'a> {
            Decision { $($name: reader.text(),)* ..Decision::default() }
        }
    };
}

fn party(e: &SipTransaction, get: impl Fn(&schemas::SipParties) -> &Option<String>) -> &str {
    e.parties.as_ref().and_then(|p| get(p).as_deref()).unwrap_or_default()
}

fn decided(e: &SipTransaction, get: impl Fn(&schemas::SipDecision) -> &Option<String>) -> &str {
    e.decision.as_ref().and_then(|d| get(d).as_deref()).unwrap_or_default()
}

texts! {
    e;
    /// Of SIP.
    call_id = e.identity.call_id.as_str();
    /// trunk or node.
    source_side = e.source_side.as_str();
    source_id = e.source_id.as_str();
    source_ip = e.transport.as_ref().and_then(|t| t.source_ip.as_deref()).unwrap_or_default();
    trunk_id = party(e, |p| &p.trunk_id);
    account = party(e, |p| &p.account);
    caller_raw = party(e, |p| &p.caller_raw);
    caller_e164 = party(e, |p| &p.caller_e164);
    callee_raw = party(e, |p| &p.callee_raw);
    callee_e164 = party(e, |p| &p.callee_e164);
    reason = decided(e, |d| &d.reason);
    acl_rule = decided(e, |d| &d.acl_rule);
    limit_rule = decided(e, |d| &d.limit_rule);
    limit_result = decided(e, |d| &d.limit_result);
    block_id = decided(e, |d| &d.block_id);
    block_version = decided(e, |d| &d.block_version);
    route_rule = decided(e, |d| &d.route_rule);
    pool = decided(e, |d| &d.pool);
    algorithm = decided(e, |d| &d.algorithm);
    chosen_side = decided(e, |d| &d.chosen_side);
    chosen_id = decided(e, |d| &d.chosen_id);
    failover_reason = decided(e, |d| &d.failover_reason);
    weight_version = decided(e, |d| &d.weight_version);
    config_digest = decided(e, |d| &d.config_digest);
}

/// A next hop that was considered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored<'a> {
    pub id: &'a str,
    pub state: &'a str,
    pub score: f64,
    pub weight: Option<f64>,
}

/// Writes the record of an event into `out`; nothing for events that decide nothing and end nothing.
pub fn write(event: &SipTransaction, out: &mut Vec<u8>) {
    out.clear();
    let kind = match event.event_type.as_str() {
        "attempt" => 0,
        "refused" => 1,
        "answered" => 2,
        "final" => 3,
        _ => return,
    };
    let call = event.call_root_id.parse().map_or([0; 16], |call: CallId| *call.as_bytes());
    let status = event.outcome.as_ref().and_then(|o| o.status).unwrap_or_default();
    out.push(kind);
    out.extend_from_slice(&event.occurred_us.to_be_bytes());
    out.extend_from_slice(&call);
    out.push(u8::try_from(event.attempt).unwrap_or(u8::MAX));
    out.extend_from_slice(&status.to_be_bytes());
    if kind > 1 {
        return;
    }
    texts(event, out);
    let port = event.transport.as_ref().and_then(|t| t.source_port).unwrap_or_default();
    out.extend_from_slice(&port.to_be_bytes());
    let none = schemas::SipDecision::default();
    let decision = event.decision.as_ref().unwrap_or(&none);
    number(decision.limit_tokens_left, out);
    list(&decision.candidates, out, |candidate, out| {
        text(&candidate.id, out);
        text(candidate.state.as_deref().unwrap_or_default(), out);
        number(Some(candidate.score), out);
        number(candidate.weight, out);
    });
    list(&decision.shadow_blocks, out, |key, out| text(key, out));
}

/// At most 255 bytes, cut between characters.
fn text(text: &str, out: &mut Vec<u8>) {
    let text = &text[..text.floor_char_boundary(TEXT)];
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// NaN stands for none.
fn number(value: Option<f64>, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.unwrap_or(f64::NAN).to_be_bytes());
}

fn list<T>(items: &[T], out: &mut Vec<u8>, mut one: impl FnMut(&T, &mut Vec<u8>)) {
    let items = &items[..items.len().min(3)];
    out.push(items.len() as u8);
    items.iter().for_each(|item| one(item, out));
}

/// Reads what [`write()`] wrote.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(record: &'a [u8]) -> Reader<'a> {
        Reader { rest: record }
    }

    pub fn head(&mut self) -> Head {
        let kind = Kind::of(self.rest);
        self.bytes::<1>();
        Head {
            kind,
            occurred_us: i64::from_be_bytes(self.bytes()),
            call: self.bytes(),
            attempt: u8::from_be_bytes(self.bytes()),
            status: u16::from_be_bytes(self.bytes()),
        }
    }

    /// After the head of a record that is a decision.
    pub fn decision(&mut self) -> Decision<'a> {
        let mut decision = read_texts(self);
        decision.source_port = u16::from_be_bytes(self.bytes());
        decision.limit_tokens_left = self.number();
        let count = u8::from_be_bytes(self.bytes());
        decision.candidates = (0..count)
            .map(|_| {
                let (id, state) = (self.text(), self.text());
                Scored { id, state, score: self.number().unwrap_or(f64::NAN), weight: self.number() }
            })
            .collect();
        let count = u8::from_be_bytes(self.bytes());
        decision.shadow_blocks = (0..count).map(|_| self.text()).collect();
        decision
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        // A record was written by this very process; a short one would read as zeros.
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else { return [0; N] };
        self.rest = rest;
        *bytes
    }

    fn text(&mut self) -> &'a str {
        let length = usize::from(u8::from_be_bytes(self.bytes()));
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((&[], &[]));
        self.rest = rest;
        std::str::from_utf8(text).unwrap_or_default()
    }

    fn number(&mut self) -> Option<f64> {
        Some(f64::from_be_bytes(self.bytes())).filter(|n| !n.is_nan())
    }
}

/// Call and kind without reading the rest.
#[must_use]
pub fn head(record: &[u8]) -> Option<Head> {
    (record.len() >= HEAD_BYTES).then(|| Reader::new(record).head())
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{SipCandidate, SipDecision, SipOutcome, SipParties};

    fn event(kind: &str, n: i64) -> SipTransaction {
        let candidate =
            SipCandidate { id: "fs-1".into(), score: 0.5, state: Some("up".into()), ..SipCandidate::default() };
        let mut e = SipTransaction {
            event_type: kind.into(),
            call_root_id: CallId::new(n, [7; 10]).to_string(),
            occurred_us: n,
            source_side: "trunk".into(),
            source_id: "carrier-a".into(),
            parties: Some(SipParties { caller_raw: Some("+4917012345".into()), ..SipParties::default() }),
            decision: Some(SipDecision {
                reason: Some("routed".into()),
                candidates: vec![candidate],
                shadow_blocks: vec!["fraud/x".into()],
                ..SipDecision::default()
            }),
            outcome: (kind != "attempt").then(|| SipOutcome { status: Some(486), ..SipOutcome::default() }),
            ..SipTransaction::default()
        };
        e.identity.call_id = format!("call-{n}@example.com");
        e
    }

    #[test]
    fn a_decision_is_read_as_it_was_written() {
        let mut record = Vec::new();
        write(&event("attempt", 42_000), &mut record);
        let mut reader = Reader::new(&record);
        let head = reader.head();
        assert_eq!((head.kind, head.occurred_us, head.status), (Kind::Attempt, 42_000, 0));
        let d = reader.decision();
        assert_eq!(
            (d.call_id, d.source_id, d.caller_raw, d.reason),
            ("call-42000@example.com", "carrier-a", "+4917012345", "routed")
        );
        assert_eq!((d.candidates[0].id, d.candidates[0].score, d.candidates[0].weight), ("fs-1", 0.5, None));
        assert_eq!((d.shadow_blocks.as_slice(), d.limit_tokens_left), (["fraud/x"].as_slice(), None));
        write(&event("final", 1), &mut record);
        assert_eq!(super::head(&record).map(|h| (h.kind, h.status)), Some((Kind::Failed, 486)));
        write(&event("ended", 1), &mut record);
        assert!(record.is_empty());
    }

    #[test]
    fn the_ring_holds_the_last_ones_and_says_how_far_back() {
        let mut ring = Ring::new(100);
        assert_eq!(ring.reach(), Reach { decisions: 0, since_us: None, since_start: true });
        let mut record = Vec::new();
        for n in 0..10_000 {
            write(&event(if n % 3 == 0 { "refused" } else { "attempt" }, n * 1_000), &mut record);
            ring.push(&record);
            write(&event("final", n * 1_000), &mut record);
            ring.push(&record);
            let held: Vec<i64> =
                ring.records().filter_map(head).filter(|h| h.kind.is_decision()).map(|h| h.occurred_us).collect();
            let expected: Vec<i64> = ((n - 99).max(0)..=n).map(|n| n * 1_000).collect();
            assert_eq!(held, expected);
        }
        assert_eq!(ring.reach(), Reach { decisions: 100, since_us: Some(9_900_000), since_start: false });
        let mut none = Ring::new(0);
        none.push(&record);
        assert_eq!(none.records().count(), 0);
    }

    #[test]
    fn long_texts_are_cut_and_never_more_than_the_bytes_are_held() {
        let mut ring = Ring::new(50);
        let mut record = Vec::new();
        for n in 0..1_000 {
            let mut e = event("attempt", n);
            e.source_id = "ä".repeat(1 + (n as usize * 37) % 300);
            e.identity.call_id = "c".repeat((n as usize * 91) % 400);
            write(&e, &mut record);
            ring.push(&record);
            let last = ring.records().last().unwrap();
            let mut reader = Reader::new(last);
            assert_eq!(reader.head().occurred_us, n);
            assert!(reader.decision().source_id.chars().all(|c| c == 'ä'));
        }
        assert!(ring.reach().decisions <= 50);
    }
}
