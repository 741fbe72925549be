//! A node that keeps registrations and connects users: what FreeSWITCH does behind the edge, as far as tests of the edge need
//! it. Both legs of a call are its own (a back-to-back user agent); requests to a user go down the Path that came with the
//! registration.

use std::collections::HashMap;
use std::net::SocketAddr;

use sip::Credentials;
use sip::digest::{Algorithm, secret, verify};
use tokio::net::UdpSocket;

use crate::text::{Dialog, Message, inside};

const REALM: &str = "testkit";
const NONCE: &str = "0123456789abcdef";

#[derive(Debug)]
struct Binding {
    contact: String,
    path: Vec<String>,
    from: SocketAddr,
}

#[derive(Debug)]
struct Leg {
    /// Call-ID of the other leg.
    other: String,
    dialog: Option<Dialog>,
    hop: SocketAddr,
    /// The INVITE of this leg, as received or sent.
    invite: Message,
    is_caller: bool,
    last: Option<Message>,
}

/// Answers on one UDP socket until it is dropped.
#[derive(Debug)]
pub struct Node {
    socket: UdpSocket,
    addr: SocketAddr,
    /// User and password.
    users: HashMap<String, String>,
    bindings: HashMap<String, Binding>,
    legs: HashMap<String, Leg>,
    count: u32,
}

impl Node {
    pub async fn bind(users: &[(&str, &str)]) -> std::io::Result<Node> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let addr = socket.local_addr()?;
        let users = users.iter().map(|&(user, password)| (user.to_owned(), password.to_owned())).collect();
        Ok(Node { socket, addr, users, bindings: HashMap::new(), legs: HashMap::new(), count: 0 })
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves for ever; ends with an error of its socket only.
    pub async fn run(mut self) -> std::io::Error {
        let mut bytes = vec![0; 65_536];
        loop {
            let (length, from) = match self.socket.recv_from(&mut bytes).await {
                Ok(got) => got,
                Err(error) => return error,
            };
            let Some(message) = Message::parse(&bytes[..length]) else { continue };
            for (to, out) in self.handle(from, &message) {
                if let Err(error) = self.socket.send_to(&out.bytes(), to).await {
                    return error;
                }
            }
        }
    }

    fn handle(&mut self, from: SocketAddr, m: &Message) -> Vec<(SocketAddr, Message)> {
        match (m.method(), m.status()) {
            ("OPTIONS", 0) => vec![(from, m.reply(200, "OK", "n"))],
            ("REGISTER", 0) => vec![(from, self.register(from, m))],
            ("INVITE", 0) => self.invite(from, m),
            ("BYE", 0) => self.bye(from, m),
            ("ACK", 0) => Vec::new(),
            ("INVITE", 101..) => self.answered(m),
            (_, 0) => vec![(from, m.reply(501, "Not Implemented", "n"))],
            _ => Vec::new(),
        }
    }

    fn register(&mut self, from: SocketAddr, m: &Message) -> Message {
        let user = inside(m.get("To")).trim_start_matches("sip:").split('@').next().unwrap_or_default().to_owned();
        let credentials = Credentials::parse(m.get("Authorization").as_bytes());
        let is_right = self.users.get(&user).is_some_and(|password| {
            let secret = secret(Algorithm::Md5, user.as_bytes(), REALM.as_bytes(), password.as_bytes());
            credentials.username == Some(user.as_bytes()) && verify(&credentials, &secret, b"REGISTER")
        });
        if !is_right {
            let challenge = format!("Digest realm=\"{REALM}\", nonce=\"{NONCE}\", algorithm=MD5, qop=\"auth\"");
            return m.reply(401, "Unauthorized", "n").with("WWW-Authenticate", challenge);
        }
        let path = m.all("Path").map(str::to_owned).collect();
        self.bindings.insert(user, Binding { contact: m.address("Contact").to_owned(), path, from });
        m.reply(200, "OK", "n").with("Contact", format!("{};expires=600", m.get("Contact")))
    }

    fn invite(&mut self, from: SocketAddr, m: &Message) -> Vec<(SocketAddr, Message)> {
        if let Some(leg) = self.legs.get(m.call_id()) {
            // Said again.
            return leg.last.iter().map(|last| (from, last.clone())).collect();
        }
        let Some(binding) = self.bindings.get(m.user()) else { return vec![(from, m.reply(404, "Not Found", "n"))] };
        self.count += 1;
        let (number, addr) = (self.count, self.addr);
        let mut call = Message::request("INVITE", &binding.contact)
            .with("Via", format!("SIP/2.0/UDP {addr};branch=z9hG4bKnode{number};rport"))
            .with("Max-Forwards", "70");
        for path in &binding.path {
            call = call.with("Route", path.as_str());
        }
        // FreeSWITCH copies our header to the other leg.
        for name in ["X-Trunkline-Call"] {
            if !m.get(name).is_empty() {
                call = call.with(name, m.get(name));
            }
        }
        let call = call
            .with("From", format!("<{}>;tag=b{number}", m.address("From")))
            .with("To", format!("<{}>", m.uri()))
            .with("Call-ID", format!("b-leg-{number}@{addr}"))
            .with("CSeq", "1 INVITE")
            .with("Contact", format!("<sip:node@{addr}>"))
            .with_body("application/sdp", &m.body);
        let trying = m.reply(100, "Trying", "");
        let hop = binding.from;
        let (a, b) = (m.call_id().to_owned(), call.call_id().to_owned());
        let caller = Leg {
            other: b.clone(),
            dialog: None,
            hop: from,
            invite: m.clone(),
            is_caller: true,
            last: Some(trying.clone()),
        };
        self.legs.insert(a.clone(), caller);
        let callee = Leg { other: a, dialog: None, hop, invite: call.clone(), is_caller: false, last: None };
        self.legs.insert(b, callee);
        vec![(from, trying), (hop, call)]
    }

    /// The called user's leg said something; the caller's says the same.
    fn answered(&mut self, m: &Message) -> Vec<(SocketAddr, Message)> {
        let Some(leg) = self.legs.get_mut(m.call_id()).filter(|leg| !leg.is_caller) else { return Vec::new() };
        let (hop, other, is_first) = (leg.hop, leg.other.clone(), leg.dialog.is_none());
        let mut out = Vec::new();
        if m.status() >= 300 {
            out.push((hop, leg.invite.ack_of(m)));
        } else if m.status() >= 200 {
            let mut dialog = Dialog::caller(m);
            let ack = dialog.request("ACK");
            leg.dialog.get_or_insert(dialog);
            out.push((hop, self.on_top(ack)));
        }
        let addr = self.addr;
        if let Some(caller) = self.legs.get_mut(&other).filter(|_| is_first) {
            let phrase = m.start.splitn(3, ' ').nth(2).unwrap_or_default();
            let mut answer = caller.invite.reply(m.status(), phrase, &format!("a{}", other.len()));
            if m.status() < 300 {
                answer = answer.with("Contact", format!("<sip:node@{addr}>"));
            }
            if !m.body.is_empty() {
                answer = answer.with_body("application/sdp", &m.body);
            }
            if (200..300).contains(&m.status()) {
                caller.dialog = Some(Dialog::callee(&caller.invite, &answer));
            }
            caller.last = Some(answer.clone());
            out.push((caller.hop, answer));
        }
        out
    }

    fn bye(&mut self, from: SocketAddr, m: &Message) -> Vec<(SocketAddr, Message)> {
        let other = self.legs.get(m.call_id()).map(|leg| leg.other.clone());
        let Some(mut other) = other.and_then(|id| self.legs.remove(&id)) else {
            return vec![(from, m.reply(481, "Call/Transaction Does Not Exist", "n"))];
        };
        let mut out = vec![(from, m.reply(200, "OK", "n"))];
        if let Some(dialog) = &mut other.dialog {
            let bye = dialog.request("BYE");
            out.push((other.hop, self.on_top(bye)));
        }
        out
    }

    fn on_top(&mut self, mut request: Message) -> Message {
        self.count += 1;
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bKnode{};rport", self.addr, self.count);
        request.headers.insert(0, ("Via".to_owned(), via));
        request
    }
}
