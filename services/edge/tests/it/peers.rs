//! Random user agents that keep the timers of RFC 3261: callers that give up, come again, refresh, ask and hang up; callees that
//! answer, answer twice, refuse, challenge, ring for ever, fall silent or start anew. They complain (panic) when they are told
//! what no proxy may tell them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::text::{Dialog, Msg, invite};

const T1: u64 = 500;

#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A message that is sent again until somebody says stop.
struct Resend {
    m: Msg,
    from: SocketAddr,
    next: u64,
    interval: u64,
    cap: u64,
    until: u64,
}

#[derive(Default)]
pub struct Outbox {
    /// By a key of the owner's choice.
    repeating: BTreeMap<String, Resend>,
    pub once: Vec<(SocketAddr, Msg)>,
}

impl Outbox {
    fn send(&mut self, from: SocketAddr, m: Msg) {
        self.once.push((from, m));
    }

    fn repeat(&mut self, key: String, now: u64, from: SocketAddr, m: Msg, cap: u64) {
        self.once.push((from, m.clone()));
        self.repeating.insert(key, Resend { m, from, next: now + T1, interval: T1, cap, until: now + 64 * T1 });
    }

    fn stop(&mut self, key: &str) {
        self.repeating.remove(key);
    }

    pub fn clear(&mut self) {
        self.repeating.clear();
        self.once.clear();
    }

    pub fn tick(&mut self, now: u64) {
        self.repeating.retain(|_, r| now < r.until);
        for r in self.repeating.values_mut().filter(|r| now >= r.next) {
            r.interval = (r.interval * 2).min(r.cap);
            r.next = now + r.interval;
            self.once.push((r.from, r.m.clone()));
        }
    }
}

/// What a caller may do inside its dialog before it hangs up.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Info,
    Reinvite,
}

pub struct Caller {
    pub id: String,
    pub at: SocketAddr,
    edge: SocketAddr,
    cseq: u32,
    sent: Msg,
    pub cancel_at: Option<u64>,
    bye_at: Option<u64>,
    inside: Option<(u64, Inside)>,
    reinvite: Option<(String, Msg)>,
    dialogs: BTreeMap<String, Dialog>,
    challenges_left: u32,
    /// Every final status of its initial INVITEs, by CSeq, and the tags of every 2xx.
    pub finals: BTreeMap<u32, Vec<u16>>,
    pub tags: BTreeMap<u32, Vec<String>>,
    provisional: bool,
    talked: bool,
}

impl Caller {
    pub fn new(id: String, at: SocketAddr, edge: SocketAddr, rng: &mut Rng) -> Caller {
        Caller {
            id,
            at,
            edge,
            cseq: 1,
            sent: invite(at, edge, "x", "1", 1),
            cancel_at: rng.chance(25).then(|| rng.below(4_000)),
            bye_at: None,
            inside: None,
            reinvite: None,
            dialogs: BTreeMap::new(),
            challenges_left: 2,
            finals: BTreeMap::new(),
            tags: BTreeMap::new(),
            provisional: false,
            talked: false,
        }
    }

    fn key(&self) -> String {
        format!("invite {} {}", self.id, self.cseq)
    }

    pub fn start(&mut self, now: u64, out: &mut Outbox) {
        self.sent = invite(self.at, self.edge, &self.id, "+4930123456", self.cseq);
        self.provisional = false;
        out.repeat(self.key(), now, self.at, self.sent.clone(), u64::MAX);
    }

    pub fn tick(&mut self, now: u64, out: &mut Outbox) {
        let decided = self.finals.contains_key(&self.cseq);
        if self.cancel_at.is_some_and(|at| now >= at) && self.provisional && !decided {
            self.cancel_at = None;
            out.stop(&self.key());
            out.repeat(format!("cancel {}", self.id), now, self.at, self.sent.cancel(), 4_000);
        }
        if let Some((_, what)) = self.inside.filter(|(at, _)| now >= *at) {
            self.inside = None;
            if let Some((tag, dialog)) = self.dialogs.iter_mut().next() {
                let contact = format!("<sip:uac@{}>", self.at);
                match what {
                    Inside::Info => {
                        let info = dialog.request("INFO");
                        out.repeat(format!("info {} {}", self.id, info.cseq()), now, self.at, info, 4_000);
                    }
                    Inside::Reinvite => {
                        let again = dialog.request("INVITE").with("Contact", &contact);
                        self.reinvite = Some((tag.clone(), again.clone()));
                        out.repeat(format!("invite {} {}", self.id, again.cseq()), now, self.at, again, u64::MAX);
                    }
                }
            }
        }
        if self.bye_at.is_some_and(|at| now >= at) && !self.dialogs.is_empty() {
            self.bye_at = None;
            for (tag, dialog) in &mut self.dialogs {
                let bye = dialog.request("BYE");
                out.repeat(format!("bye {} {tag}", self.id), now, self.at, bye, 4_000);
            }
        }
    }

    pub fn receive(&mut self, now: u64, m: &Msg, out: &mut Outbox, rng: &mut Rng) {
        assert!(
            m.method() == "INVITE" || !matches!(m.status(), 100 | 408 | 503),
            "RFC 4320, RFC 3261 §16.7: {} to {}",
            m.status(),
            m.method()
        );
        if m.method() == "INVITE" && self.reinvite.as_ref().is_some_and(|(_, sent)| sent.cseq() == m.cseq()) {
            return self.reinvited(m, out);
        }
        match (m.method().to_owned().as_str(), m.status()) {
            ("INVITE", 100..=199) => {
                self.provisional = true;
                out.stop(&format!("invite {} {}", self.id, m.cseq()));
            }
            ("INVITE", 200..=299) => {
                out.stop(&format!("invite {} {}", self.id, m.cseq()));
                let seen = self.finals.entry(m.cseq()).or_default();
                if !seen.contains(&m.status()) {
                    seen.push(m.status());
                }
                let tag = m.tag("To").to_owned();
                let tags = self.tags.entry(m.cseq()).or_default();
                if !tags.contains(&tag) {
                    tags.push(tag.clone());
                }
                let at = self.at;
                let dialog = self.dialogs.entry(tag).or_insert_with(|| Dialog::caller(at, m));
                let mut ack = dialog.clone();
                ack.cseq = m.cseq();
                out.send(self.at, ack.request("ACK"));
                // A further answer is hung up on too, by a BYE of its own.
                self.bye_at.get_or_insert(now + rng.below(6_000));
                if !std::mem::replace(&mut self.talked, true) {
                    let what = if rng.chance(50) { Inside::Info } else { Inside::Reinvite };
                    self.inside = rng.chance(50).then(|| (now + rng.below(3_000), what));
                }
            }
            ("INVITE", 300..) => {
                out.stop(&format!("invite {} {}", self.id, m.cseq()));
                out.stop(&format!("cancel {}", self.id));
                let seen = self.finals.entry(m.cseq()).or_default();
                if !seen.contains(&m.status()) {
                    seen.push(m.status());
                }
                if m.cseq() == self.cseq {
                    out.send(self.at, self.sent.ack_failure(m));
                    if m.status() == 407 && self.challenges_left > 0 {
                        self.challenges_left -= 1;
                        self.cseq += 1;
                        self.start(now, out);
                    }
                }
            }
            ("BYE", 0) => {
                out.send(self.at, m.reply(200, "OK", ""));
                self.dialogs.remove(m.tag("From"));
            }
            ("BYE", 200..) => out.stop(&format!("bye {} {}", self.id, m.tag("To"))),
            ("INFO", 200..) => out.stop(&format!("info {} {}", self.id, m.cseq())),
            ("CANCEL", 200..) => out.stop(&format!("cancel {}", self.id)),
            _ => {}
        }
    }

    fn reinvited(&mut self, m: &Msg, out: &mut Outbox) {
        let Some((tag, sent)) = &self.reinvite else { return };
        out.stop(&format!("invite {} {}", self.id, m.cseq()));
        match m.status() {
            200..=299 => {
                if let Some(mut ack) = self.dialogs.get(tag).cloned() {
                    ack.cseq = m.cseq();
                    out.send(self.at, ack.request("ACK"));
                }
            }
            300.. => out.send(self.at, sent.ack_failure(m)),
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    Answers,
    AnswersSilently,
    AnswersTwice,
    AnswersLate,
    Busy,
    Declines,
    Unavailable,
    ServerError,
    Challenges,
    Silent,
    RingsForEver,
    Redirects,
}

pub const MOODS: [Mood; 14] = [
    Mood::Answers,
    Mood::Answers,
    Mood::Answers,
    Mood::AnswersSilently,
    Mood::AnswersTwice,
    Mood::AnswersLate,
    Mood::Busy,
    Mood::Declines,
    Mood::Unavailable,
    Mood::ServerError,
    Mood::Challenges,
    Mood::Silent,
    Mood::RingsForEver,
    Mood::Redirects,
];

/// What a callee holds for one INVITE.
struct Leg {
    offered: Msg,
    answers: u32,
    answer_at: Option<u64>,
    hang_up_at: Option<u64>,
    final_sent: Option<Msg>,
    dialogs: Vec<Dialog>,
}

pub struct Callee {
    pub at: SocketAddr,
    pub alive: bool,
    legs: BTreeMap<String, Leg>,
    next: u64,
}

impl Callee {
    pub fn new(at: SocketAddr) -> Callee {
        Callee { at, alive: true, legs: BTreeMap::new(), next: 0 }
    }

    /// Everything that it knew is gone.
    pub fn dies(&mut self, out: &mut Outbox) {
        self.alive = false;
        self.legs.clear();
        out.clear();
    }

    pub fn tick(&mut self, now: u64, out: &mut Outbox) {
        for (branch, leg) in &mut self.legs {
            if leg.answer_at.is_some_and(|at| now >= at) && leg.final_sent.is_none() {
                for n in 0..leg.answers {
                    self.next += 1;
                    let tag = format!("n{}x{}", self.at.ip().to_string().replace('.', "-"), self.next);
                    let ok = leg.offered.reply(200, "OK", &tag).with("Contact", &format!("<sip:n@{}>", self.at));
                    leg.final_sent = Some(ok.clone());
                    leg.dialogs.push(Dialog::callee(self.at, &leg.offered, &ok));
                    out.repeat(format!("final {branch} {n}"), now, self.at, ok, 4_000);
                }
            }
            if leg.hang_up_at.is_some_and(|at| now >= at)
                && let Some(dialog) = leg.dialogs.first_mut()
            {
                leg.hang_up_at = None;
                let bye = dialog.request("BYE");
                out.repeat(format!("bye {branch}"), now, self.at, bye, 4_000);
            }
        }
    }

    pub fn receive(&mut self, now: u64, m: &Msg, mood: Mood, out: &mut Outbox, rng: &mut Rng) {
        match (m.method(), m.status()) {
            ("INVITE", 0) if !m.tag("To").is_empty() => self.inside(m, out),
            ("INFO", 0) => self.inside(m, out),
            ("INVITE", 0) => self.offered(now, m, mood, out, rng),
            ("ACK", 0) => {
                // Of a failure it carries the branch, of a 2xx the dialog.
                out.stop(&format!("final {} 0", m.branch()));
                for (branch, leg) in &self.legs {
                    let of =
                        |d: &Dialog| d.call_id == m.call_id() && d.local.ends_with(&format!("tag={}", m.tag("To")));
                    if let Some(n) = leg.dialogs.iter().position(of) {
                        out.stop(&format!("final {branch} {n}"));
                    }
                }
            }
            ("CANCEL", 0) => {
                out.send(self.at, m.reply(200, "OK", "c"));
                if let Some(leg) = self.legs.get_mut(m.branch())
                    && leg.final_sent.is_none()
                {
                    let end = leg.offered.reply(487, "Request Terminated", &format!("r{}", m.branch()));
                    leg.final_sent = Some(end.clone());
                    leg.answer_at = None;
                    out.repeat(format!("final {} 0", m.branch()), now, self.at, end, 4_000);
                }
            }
            ("BYE", 0) => {
                let mut known = false;
                for (branch, leg) in &mut self.legs {
                    let of =
                        |d: &Dialog| d.call_id == m.call_id() && d.local.ends_with(&format!("tag={}", m.tag("To")));
                    if let Some(n) = leg.dialogs.iter().position(of) {
                        known = true;
                        leg.hang_up_at = leg.hang_up_at.filter(|_| n > 0);
                        out.stop(&format!("final {branch} {n}"));
                    }
                }
                let (status, why) = if known { (200, "OK") } else { (481, "Unknown") };
                out.send(self.at, m.reply(status, why, ""));
            }
            ("BYE", 200..) => {
                let done = self.legs.iter().filter(|(_, l)| l.dialogs.iter().any(|d| d.call_id == m.call_id()));
                done.for_each(|(branch, _)| out.stop(&format!("bye {branch}")));
            }
            _ => {}
        }
    }

    /// A request inside a dialog: answered, refused, overloaded, given up, or not heard.
    fn inside(&mut self, m: &Msg, out: &mut Outbox) {
        let answers = [(200, "OK"), (200, "OK"), (200, "OK"), (488, "No"), (503, "Later"), (408, "Too late"), (0, "")];
        // The same answer to each copy.
        let pick = m.branch().bytes().fold(7_u64, |sum, b| sum.wrapping_mul(31) + u64::from(b));
        let (status, why) = answers[(pick % answers.len() as u64) as usize];
        if m.method() == "INFO" {
            out.send(self.at, m.reply(100, "Trying", ""));
        }
        if status > 0 {
            out.send(self.at, m.reply(status, why, "").with("Contact", &format!("<sip:n@{}>", self.at)));
        }
    }

    fn offered(&mut self, now: u64, m: &Msg, mood: Mood, out: &mut Outbox, rng: &mut Rng) {
        let branch = m.branch().to_owned();
        if let Some(leg) = self.legs.get(&branch) {
            if let Some(last) = &leg.final_sent {
                out.send(self.at, last.clone());
            }
            return;
        }
        if mood == Mood::Silent {
            return;
        }
        if mood != Mood::AnswersLate && rng.chance(70) {
            out.send(self.at, m.reply(100, "Trying", ""));
        }
        let mut leg = Leg {
            offered: m.clone(),
            answers: if mood == Mood::AnswersTwice { 2 } else { 1 },
            answer_at: None,
            hang_up_at: None,
            final_sent: None,
            dialogs: Vec::new(),
        };
        let refuse = |status, reason: &str| Some(m.reply(status, reason, &format!("r{branch}")));
        let failure = match mood {
            Mood::Busy => refuse(486, "Busy Here"),
            Mood::Declines => refuse(603, "Decline"),
            Mood::Unavailable => refuse(503, "Service Unavailable"),
            Mood::ServerError => refuse(500, "Server Error"),
            Mood::Challenges => refuse(407, "Proxy Authentication Required"),
            Mood::Redirects => refuse(302, "Moved Temporarily"),
            _ => None,
        };
        match (failure, mood) {
            (Some(m), _) => {
                leg.final_sent = Some(m.clone());
                out.repeat(format!("final {branch} 0"), now, self.at, m, 4_000);
            }
            (None, Mood::AnswersLate) => leg.answer_at = Some(now + 1_000 + rng.below(40_000)),
            (None, _) => {
                if mood != Mood::AnswersSilently {
                    out.send(self.at, m.reply(180, "Ringing", &format!("n{branch}")));
                }
                if mood != Mood::RingsForEver {
                    leg.answer_at = Some(now + rng.below(3_000));
                    leg.hang_up_at = rng.chance(50).then(|| now + 3_000 + rng.below(6_000));
                }
            }
        }
        self.legs.insert(branch, leg);
    }
}
