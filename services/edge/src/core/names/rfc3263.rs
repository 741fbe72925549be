//! RFC 3263 as a pure function: what to ask next about a name, given what is known, or the addresses that it stands for.
//!
//! NAPTR says which transports a domain wants, SRV where they are served and with which weight, A and AAAA the addresses.
//! A port in the name skips both, a transport skips NAPTR. Only transports that we can speak are followed, so a domain that
//! offers TLS first is reached over UDP when there is no TLS listener; an offer over TLS alone then gives no address at all.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Target;
use crate::config::{SipName, Transport};

/// More addresses than this are cut off: a name that gives hundreds is a mistake, and an INVITE tries a few only.
pub const MOST_TARGETS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    Naptr(String),
    Srv(String),
    /// A, AAAA or both, as far as we have listeners for them.
    Addresses(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub services: String,
    pub replacement: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// No records of that kind is an answer too; a question that could not be asked has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    Naptr(Vec<Naptr>),
    Srv(Vec<Srv>),
    Addresses(Vec<IpAddr>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub records: Records,
    pub ttl: Duration,
}

pub type Known = HashMap<Question, Answer>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All of these, in any order.
    Ask(Vec<Question>),
    /// Best first; the shortest life of all answers that led here.
    Done { targets: Vec<Target>, ttl: Duration },
}

/// One way to reach the name: a service record or a host, with its place among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    rank: u16,
    transport: Transport,
    question: Question,
    /// For a host; a service record has its own.
    port: u16,
}

/// `speaks` are the transports that we have listeners for, the one to prefer first.
#[must_use]
pub fn step(name: &SipName, speaks: &[Transport], known: &Known) -> Step {
    let mut reader = Reader { known, missing: Vec::new(), ttl: Duration::MAX };
    let ways = reader.ways(name, speaks);
    let mut targets = Vec::new();
    for way in ways {
        reader.follow(&way, &mut targets);
    }
    if !reader.missing.is_empty() {
        return Step::Ask(reader.missing);
    }
    targets.sort_by_key(|t: &Target| (t.rank, t.priority, std::cmp::Reverse(t.weight), t.address));
    targets.dedup_by_key(|t| (t.address, t.transport));
    targets.truncate(MOST_TARGETS);
    Step::Done { targets, ttl: reader.ttl }
}

struct Reader<'a> {
    known: &'a Known,
    missing: Vec<Question>,
    ttl: Duration,
}

impl<'a> Reader<'a> {
    fn read(&mut self, question: Question) -> Option<&'a Records> {
        match self.known.get(&question) {
            Some(answer) => {
                self.ttl = self.ttl.min(answer.ttl);
                Some(&answer.records)
            }
            None => {
                self.missing.push(question);
                None
            }
        }
    }

    /// RFC 3263 §4.1: which transports, and where they are looked up.
    fn ways(&mut self, name: &SipName, speaks: &[Transport]) -> Vec<Way> {
        let host = name.host.to_ascii_lowercase();
        let usable = |t: &Transport| speaks.contains(t) && (!name.secure || *t == Transport::Tls);
        let usual = if name.secure { Transport::Tls } else { Transport::Udp };
        let at_host = |transport: Transport, port: Option<u16>| Way {
            rank: u16::MAX,
            transport,
            question: Question::Addresses(host.clone()),
            port: port.unwrap_or(default_port(transport)),
        };
        if name.port.is_some() {
            let transport = name.transport.unwrap_or(usual);
            return Some(at_host(transport, name.port)).filter(|w| usable(&w.transport)).into_iter().collect();
        }
        let service = |rank: usize, transport: Transport| {
            let question = Question::Srv(format!("{}.{host}", prefix(transport)));
            Way { rank: u16::try_from(rank).unwrap_or(u16::MAX - 1), transport, question, port: 0 }
        };
        let offered = match name.transport {
            Some(transport) => vec![service(0, transport)],
            None => {
                let Some(Records::Naptr(found)) = self.read(Question::Naptr(host.clone())) else { return Vec::new() };
                match by_naptr(found) {
                    offered if !offered.is_empty() => offered,
                    // No NAPTR at all: every transport that we speak is asked for.
                    _ => speaks.iter().enumerate().map(|(rank, &t)| service(rank, t)).collect(),
                }
            }
        };
        let mut ways: Vec<Way> = offered.into_iter().filter(|w| usable(&w.transport)).collect();
        // §4.2: without any SRV the name itself is the host.
        let (mut services, mut unknown) = (0, false);
        for way in &ways {
            match self.read(way.question.clone()) {
                Some(Records::Srv(found)) => services += found.len(),
                Some(_) => services += 1,
                None => unknown = true,
            }
        }
        if unknown {
            return Vec::new();
        }
        if services == 0 {
            let transport = name.transport.unwrap_or(usual);
            ways = Some(at_host(transport, None)).filter(|w| usable(&w.transport)).into_iter().collect();
        }
        ways
    }

    fn follow(&mut self, way: &Way, targets: &mut Vec<Target>) {
        match self.read(way.question.clone()) {
            Some(Records::Srv(found)) => {
                for srv in found {
                    // A target of "." says that the service is decidedly not there (RFC 2782).
                    if srv.target.is_empty() || srv.target == "." {
                        continue;
                    }
                    let host = Question::Addresses(srv.target.to_ascii_lowercase());
                    if let Some(Records::Addresses(ips)) = self.read(host) {
                        let target = |&ip: &IpAddr| Target {
                            address: SocketAddr::new(ip, srv.port),
                            transport: way.transport,
                            rank: way.rank,
                            priority: srv.priority,
                            weight: srv.weight,
                        };
                        targets.extend(ips.iter().map(target));
                    }
                }
            }
            Some(Records::Addresses(ips)) => {
                let target = |&ip: &IpAddr| Target {
                    address: SocketAddr::new(ip, way.port),
                    transport: way.transport,
                    rank: way.rank,
                    priority: 0,
                    weight: 0,
                };
                targets.extend(ips.iter().map(target));
            }
            _ => {}
        }
    }
}

/// The services of a domain in its own order. RFC 3263 uses the flag `s` only; `a` is what some domains write.
fn by_naptr(found: &[Naptr]) -> Vec<Way> {
    let mut sorted: Vec<&Naptr> = found.iter().collect();
    sorted.sort_by_key(|n| (n.order, n.preference));
    let way = |(rank, n): (usize, &&Naptr)| {
        let transport = match n.services.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Transport::Udp,
            "SIP+D2T" => Transport::Tcp,
            "SIPS+D2T" => Transport::Tls,
            _ => return None,
        };
        let replacement = n.replacement.to_ascii_lowercase();
        let question = match n.flags.to_ascii_lowercase().as_str() {
            "s" => Question::Srv(replacement),
            "a" => Question::Addresses(replacement),
            _ => return None,
        };
        let rank = u16::try_from(rank).unwrap_or(u16::MAX - 1);
        Some(Way { rank, transport, question, port: default_port(transport) })
    };
    sorted.iter().enumerate().filter_map(way).collect()
}

fn prefix(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tls => "_sips._tcp",
        Transport::Tcp => "_sip._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    }
}

fn default_port(transport: Transport) -> u16 {
    if matches!(transport, Transport::Tls) { 5061 } else { 5060 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transport::{Tcp, Tls, Udp};

    fn ask(name: &str, speaks: &[Transport], known: &[(Question, Records)]) -> Step {
        let ttl = |at: usize| Duration::from_secs(300 - at as u64);
        let known = known.iter().cloned().enumerate().map(|(at, (q, records))| (q, Answer { records, ttl: ttl(at) }));
        step(&name.parse().unwrap(), speaks, &known.collect())
    }

    fn naptr(host: &str, records: &[(u16, u16, &str, &str)]) -> (Question, Records) {
        let record = |&(order, preference, services, to): &(u16, u16, &str, &str)| Naptr {
            order,
            preference,
            flags: "s".into(),
            services: services.into(),
            replacement: to.into(),
        };
        (Question::Naptr(host.into()), Records::Naptr(records.iter().map(record).collect()))
    }

    fn srv(name: &str, records: &[(u16, u16, u16, &str)]) -> (Question, Records) {
        let record = |&(priority, weight, port, target): &(u16, u16, u16, &str)| Srv {
            priority,
            weight,
            port,
            target: target.into(),
        };
        (Question::Srv(name.into()), Records::Srv(records.iter().map(record).collect()))
    }

    fn host(name: &str, ips: &[&str]) -> (Question, Records) {
        (Question::Addresses(name.into()), Records::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect()))
    }

    fn found(step: Step) -> Vec<(String, Transport)> {
        match step {
            Step::Done { targets, .. } => targets.into_iter().map(|t| (t.address.to_string(), t.transport)).collect(),
            Step::Ask(missing) => panic!("still asks {missing:?}"),
        }
    }

    fn pairs(list: &[(&str, Transport)]) -> Vec<(String, Transport)> {
        list.iter().map(|&(a, t)| (a.to_owned(), t)).collect()
    }

    #[test]
    fn a_port_needs_addresses_only() {
        assert_eq!(ask("sip:c.example:5070", &[Udp], &[]), Step::Ask(vec![Question::Addresses("c.example".into())]));
        let a = host("c.example", &["192.0.2.9", "192.0.2.7"]);
        let got = found(ask("sip:C.example:5070", &[Udp], &[a]));
        assert_eq!(got, pairs(&[("192.0.2.7:5070", Udp), ("192.0.2.9:5070", Udp)]));
    }

    #[test]
    fn a_transport_needs_its_service_record_and_falls_back_to_the_host() {
        let q = Question::Srv("_sip._tcp.c.example".into());
        assert_eq!(ask("sip:c.example;transport=tcp", &[Udp, Tcp], &[]), Step::Ask(vec![q]));
        let none = srv("_sip._tcp.c.example", &[]);
        let a = host("c.example", &["2001:db8::1"]);
        let got = found(ask("sip:c.example;transport=tcp", &[Udp, Tcp], &[none, a]));
        assert_eq!(got, pairs(&[("[2001:db8::1]:5060", Tcp)]));
    }

    #[test]
    fn naptr_decides_the_transport_as_far_as_we_speak_it() {
        let n = naptr(
            "c.example",
            &[
                (20, 1, "SIP+D2U", "_sip._udp.c.example"),
                (10, 5, "SIPS+D2T", "_sips._tcp.c.example"),
                (10, 1, "E2U", "x"),
            ],
        );
        let tls = srv("_sips._tcp.c.example", &[(0, 0, 5061, "t.c.example")]);
        let udp = srv("_sip._udp.c.example", &[(0, 0, 5080, "u.c.example")]);
        let hosts = [host("t.c.example", &["192.0.2.1"]), host("u.c.example", &["192.0.2.2"])];
        let all = [n, tls, udp, hosts[0].clone(), hosts[1].clone()];
        let got = found(ask("sip:c.example", &[Udp, Tls], &all));
        assert_eq!(got, pairs(&[("192.0.2.1:5061", Tls), ("192.0.2.2:5080", Udp)]));
        assert_eq!(found(ask("sip:c.example", &[Udp], &all)), pairs(&[("192.0.2.2:5080", Udp)]));
        assert_eq!(found(ask("sips:c.example", &[Udp, Tls], &all)), pairs(&[("192.0.2.1:5061", Tls)]));
        assert_eq!(found(ask("sips:c.example", &[Udp], &all)), pairs(&[]), "never down to UDP");
    }

    #[test]
    fn without_naptr_every_transport_is_asked_and_then_the_host() {
        let n = naptr("c.example", &[]);
        let asked = |t: &str| Question::Srv(format!("{t}.c.example"));
        let first = ask("sip:c.example", &[Udp, Tcp], std::slice::from_ref(&n));
        assert_eq!(first, Step::Ask(vec![asked("_sip._udp"), asked("_sip._tcp")]));
        let none = [srv("_sip._udp.c.example", &[]), srv("_sip._tcp.c.example", &[])];
        let known = [n.clone(), none[0].clone(), none[1].clone(), host("c.example", &["192.0.2.3"])];
        assert_eq!(found(ask("sip:c.example", &[Udp, Tcp], &known)), pairs(&[("192.0.2.3:5060", Udp)]));
        let tcp = srv("_sip._tcp.c.example", &[(1, 0, 5062, "h.example")]);
        let known = [n, none[0].clone(), tcp, host("h.example", &["192.0.2.4"])];
        assert_eq!(found(ask("sip:c.example", &[Udp, Tcp], &known)), pairs(&[("192.0.2.4:5062", Tcp)]));
    }

    #[test]
    fn priorities_come_before_weights_and_a_dot_is_no_host() {
        let s = srv(
            "_sip._udp.c.example",
            &[(20, 100, 5060, "b.example"), (10, 1, 5060, "a.example"), (10, 9, 5061, "a.example"), (0, 0, 1, ".")],
        );
        let known = [s, host("a.example", &["192.0.2.1"]), host("b.example", &["192.0.2.2"])];
        let step = ask("sip:c.example;transport=udp", &[Udp], &known);
        let Step::Done { targets, ttl } = step else { panic!("{step:?}") };
        assert_eq!(ttl, Duration::from_secs(298), "the shortest of all");
        let got: Vec<_> = targets.iter().map(|t| (t.address.to_string(), t.priority, t.weight)).collect();
        let want = [("192.0.2.1:5061", 10, 9), ("192.0.2.1:5060", 10, 1), ("192.0.2.2:5060", 20, 100)];
        assert_eq!(got, want.map(|(a, p, w)| (a.to_owned(), p, w)));
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let many: Vec<String> = (0..200).map(|i| format!("192.0.2.{i}")).collect();
        let a = host("c.example", &many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found(ask("sip:c.example:5060", &[Udp], &[a])).len(), MOST_TARGETS);
    }
}
