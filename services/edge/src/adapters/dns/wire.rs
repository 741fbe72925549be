//! Messages of DNS (RFC 1035, with EDNS of RFC 6891), as far as a stub asks and reads them. Pure.
//!
//! An answer is read only when it has the number and the question of what was asked; whatever in it cannot be read makes it no
//! answer. Names come out in lower case, without their last dot; one that holds bytes which no host name has is refused.

use std::collections::HashSet;
use std::net::IpAddr;

/// What one packet may bring without pieces on any network (RFC 6891 §6.2.5, DNS flag day 2020).
const UDP_BYTES: u16 = 1_232;
const MOST_NAME: usize = 253;
/// Aliases followed from the name that was asked for.
const MOST_ALIASES: usize = 8;
const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    A = 1,
    Aaaa = 28,
    Srv = 33,
    Naptr = 35,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Address(IpAddr),
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Naptr { order: u16, preference: u16, flags: String, services: String, replacement: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not an answer to this question")]
    Foreign,
    #[error("unreadable")]
    Broken,
    /// To be asked for again over TCP.
    #[error("too long for one packet")]
    Truncated,
    /// The server's word: it cannot or will not say.
    #[error("{}", code(*.0))]
    Refused(u8),
}

fn code(code: u8) -> String {
    match code {
        1 => "format error".to_owned(),
        2 => "server failure".to_owned(),
        4 => "not implemented".to_owned(),
        5 => "refused".to_owned(),
        other => format!("error {other}"),
    }
}

/// The question; `None` for what is no name.
#[must_use]
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(32 + name.len());
    out.extend(id.to_be_bytes());
    // Recursion desired; one question, and the EDNS record behind it.
    out.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    put_name(&mut out, name)?;
    out.extend((kind as u16).to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    out.extend([0, 0, 41]);
    out.extend(UDP_BYTES.to_be_bytes());
    out.extend([0; 6]);
    Some(out)
}

fn put_name(out: &mut Vec<u8>, name: &str) -> Option<()> {
    if name.len() > MOST_NAME {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n))?;
        out.push(length);
        out.extend(label.as_bytes());
    }
    out.push(0);
    Some(())
}

/// The records of that kind behind the name, its aliases followed, and the shortest life on the way (s). A name that is not there
/// has none.
pub fn answer(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Result<(Vec<Data>, u32), Fault> {
    let mut r = Reader { all: bytes, at: 0 };
    let broken = Fault::Broken;
    let (got, flags) = (r.u16().ok_or(broken)?, r.u16().ok_or(broken)?);
    let counts = [r.u16(), r.u16(), r.u16(), r.u16()];
    let is_answer = flags & 0xF800 == 0x8000;
    if got != id || !is_answer || counts[0] != Some(1) {
        return Err(Fault::Foreign);
    }
    let asked = (r.name().ok_or(broken)?, r.u16(), r.u16());
    if asked != (name.to_ascii_lowercase(), Some(kind as u16), Some(CLASS_IN)) {
        return Err(Fault::Foreign);
    }
    if flags & 0x0200 > 0 {
        return Err(Fault::Truncated);
    }
    match (flags & 0xF) as u8 {
        0 => {}
        // There is no such name: an answer too.
        3 => return Ok((Vec::new(), u32::MAX)),
        other => return Err(Fault::Refused(other)),
    }
    let count = counts[1].ok_or(broken)?;
    let records = (0..count).map(|_| r.record(kind)).collect::<Option<Vec<Record>>>().ok_or(broken)?;
    Ok(follow(records, asked.0))
}

/// One record of an answer section.
struct Record {
    owner: String,
    ttl: u32,
    what: What,
}

enum What {
    Alias(String),
    Wanted(Data),
    Other,
}

fn follow(records: Vec<Record>, name: String) -> (Vec<Data>, u32) {
    let (mut owner, mut ttl, mut seen) = (name, u32::MAX, HashSet::new());
    while seen.len() < MOST_ALIASES && seen.insert(owner.clone()) {
        let alias = records.iter().find_map(|r| match &r.what {
            What::Alias(to) if r.owner == owner => Some((to, r.ttl)),
            _ => None,
        });
        let Some((to, life)) = alias else { break };
        ttl = ttl.min(life);
        owner.clone_from(to);
    }
    let mut found = Vec::new();
    for record in records.into_iter().filter(|r| r.owner == owner) {
        if let What::Wanted(data) = record.what {
            ttl = ttl.min(record.ttl);
            found.push(data);
        }
    }
    (found, ttl)
}

struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.all.get(self.at..self.at.checked_add(N)?)?;
        self.at += N;
        bytes.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let [length] = self.take()?;
        let bytes = self.all.get(self.at..self.at + usize::from(length))?;
        self.at += usize::from(length);
        bytes.is_ascii().then(|| String::from_utf8_lossy(bytes).into_owned())
    }

    /// With its pointers followed, each to an earlier place: so it ends.
    fn name(&mut self) -> Option<String> {
        let (mut out, mut at, mut after) = (String::new(), self.at, None);
        loop {
            let length = usize::from(*self.all.get(at)?);
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    let label = self.all.get(at + 1..at + 1 + length)?;
                    if !out.is_empty() {
                        out.push('.');
                    }
                    let is_good = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*' | b'/');
                    if !label.iter().all(is_good) || out.len() + length > MOST_NAME {
                        return None;
                    }
                    out.extend(label.iter().map(|b| b.to_ascii_lowercase() as char));
                    at += 1 + length;
                }
                3 => {
                    let to = (length & 0x3F) << 8 | usize::from(*self.all.get(at + 1)?);
                    after = after.or(Some(at + 2));
                    if to >= at {
                        return None;
                    }
                    at = to;
                }
                _ => return None,
            }
        }
        self.at = after.unwrap_or(at + 1);
        Some(out)
    }

    fn record(&mut self, kind: Kind) -> Option<Record> {
        let owner = self.name()?;
        let (is, class) = (self.u16()?, self.u16()?);
        let ttl = self.take().map(u32::from_be_bytes)?;
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        (end <= self.all.len()).then_some(())?;
        let what = if class != CLASS_IN {
            What::Other
        } else if is == CNAME {
            What::Alias(self.name()?)
        } else if is == kind as u16 {
            What::Wanted(self.data(kind)?)
        } else {
            What::Other
        };
        (self.at <= end).then_some(())?;
        self.at = end;
        // RFC 2181 §8: a life with its highest bit set is none.
        Some(Record { owner, ttl: if ttl > i32::MAX as u32 { 0 } else { ttl }, what })
    }

    fn data(&mut self, kind: Kind) -> Option<Data> {
        Some(match kind {
            Kind::A => Data::Address(IpAddr::from(self.take::<4>()?)),
            Kind::Aaaa => Data::Address(IpAddr::from(self.take::<16>()?)),
            Kind::Srv => {
                Data::Srv { priority: self.u16()?, weight: self.u16()?, port: self.u16()?, target: self.name()? }
            }
            Kind::Naptr => {
                let (order, preference) = (self.u16()?, self.u16()?);
                let (flags, services, _pattern) = (self.text()?, self.text()?, self.text()?);
                Data::Naptr { order, preference, flags, services, replacement: self.name()? }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_name(&mut out, text).unwrap();
        out
    }

    fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap();
        [owner, &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &length.to_be_bytes(), data].concat()
    }

    fn reply(asked: &str, kind: Kind, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let counts = [0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0];
        let head = [&7u16.to_be_bytes()[..], &flags.to_be_bytes(), &counts].concat();
        [head, name(asked), (kind as u16).to_be_bytes().to_vec(), vec![0, 1], records.concat()].concat()
    }

    const OK: u16 = 0x8180;
    /// A pointer to the name of the question.
    const ASKED: &[u8] = &[0xC0, 12];

    #[test]
    fn records_are_found_behind_aliases_and_the_shortest_life_counts() {
        let records = [
            record(ASKED, 5, 300, &name("real.example")),
            record(&name("real.example"), 1, 60, &[192, 0, 2, 1]),
            record(&name("REAL.example"), 1, 90, &[192, 0, 2, 2]),
            record(&name("other.example"), 1, 1, &[192, 0, 2, 3]),
        ];
        let got = answer(&reply("Alias.example", Kind::A, OK, &records), 7, "alias.EXAMPLE", Kind::A).unwrap();
        let ip = |last: u8| Data::Address(IpAddr::from([192, 0, 2, last]));
        assert_eq!(got, (vec![ip(1), ip(2)], 60));
    }

    #[test]
    fn services_are_read_with_their_pointers() {
        let data = [&[0, 10, 0, 5, 0x13, 0xC4][..], &[1, b'h'], ASKED].concat();
        let got = answer(&reply("c.example", Kind::Srv, OK, &[record(ASKED, 33, 5, &data)]), 7, "c.example", Kind::Srv);
        let want = Data::Srv { priority: 10, weight: 5, port: 5_060, target: "h.c.example".into() };
        assert_eq!(got.unwrap(), (vec![want], 5));
        let data = [&[0, 1, 0, 2, 1, b's', 7][..], b"SIP+D2U", &[0], &name("_sip._udp.c.example")].concat();
        let got =
            answer(&reply("c.example", Kind::Naptr, OK, &[record(ASKED, 35, 5, &data)]), 7, "c.example", Kind::Naptr);
        let want = Data::Naptr {
            order: 1,
            preference: 2,
            flags: "s".into(),
            services: "SIP+D2U".into(),
            replacement: "_sip._udp.c.example".into(),
        };
        assert_eq!(got.unwrap().0, [want]);
        let root = [&[0, 0, 0, 0, 0, 1][..], &[0]].concat();
        let got = answer(&reply("c.example", Kind::Srv, OK, &[record(ASKED, 33, 5, &root)]), 7, "c.example", Kind::Srv);
        assert!(matches!(&got.unwrap().0[0], Data::Srv { target, .. } if target.is_empty()), "decidedly not there");
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_none() {
        let good = reply("c.example", Kind::A, OK, &[record(ASKED, 1, 5, &[192, 0, 2, 1])]);
        let read = |bytes: &[u8], id, asked: &str, kind| answer(bytes, id, asked, kind).map(|(found, _)| found.len());
        assert_eq!(read(&good, 7, "c.example", Kind::A), Ok(1));
        assert_eq!(read(&good, 8, "c.example", Kind::A), Err(Fault::Foreign));
        assert_eq!(read(&good, 7, "d.example", Kind::A), Err(Fault::Foreign));
        assert_eq!(read(&good, 7, "c.example", Kind::Aaaa), Err(Fault::Foreign));
        assert_eq!(read(&good[..good.len() - 1], 7, "c.example", Kind::A), Err(Fault::Broken));
        for (flags, want) in [
            (0x0180, Err(Fault::Foreign)),
            (0x8380, Err(Fault::Truncated)),
            (0x8182, Err(Fault::Refused(2))),
            (0x8183, Ok(0)),
        ] {
            assert_eq!(read(&reply("c.example", Kind::A, flags, &[]), 7, "c.example", Kind::A), want, "{flags:04x}");
        }
        // A name that points at itself, or forward.
        for to in [0xC0u8, 0xC1] {
            let looped = reply("c.example", Kind::A, OK, &[record(&[to, 27], 1, 5, &[192, 0, 2, 1])]);
            assert_eq!(read(&looped, 7, "c.example", Kind::A), Err(Fault::Broken));
        }
    }

    #[test]
    fn an_endless_ring_of_aliases_ends() {
        let ring = [record(ASKED, 5, 9, &name("b.example")), record(&name("b.example"), 5, 9, &name("c.example"))];
        assert_eq!(answer(&reply("c.example", Kind::A, OK, &ring), 7, "c.example", Kind::A), Ok((vec![], 9)));
    }

    #[test]
    fn only_names_are_asked_for() {
        assert!(question(1, "a.example", Kind::A).is_some());
        for bad in ["", "a..b", &"x".repeat(64), &["x"; 128].join(".")] {
            assert!(question(1, bad, Kind::A).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..120, kind in 0..4) {
            let kind = [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Naptr][kind as usize];
            let _ = answer(&noise, 7, "c.example", kind);
            let mut bytes = reply("c.example", kind, OK, &[record(ASKED, kind as u16, 5, &noise), record(ASKED, 5, 1, ASKED)]);
            let at = at.min(bytes.len());
            bytes.truncate(bytes.len() - at / 3);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= noise.first().copied().unwrap_or(1);
            }
            let _ = answer(&bytes, 7, "c.example", kind);
        }
    }
}
