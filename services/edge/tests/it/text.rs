//! SIP for peers of tests, written by hand and on purpose without the product's parser: a bug there must not hide here.

use std::fmt::Write;

#[derive(Debug, Clone, PartialEq)]
pub struct Msg {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Msg {
    pub fn parse(bytes: &[u8]) -> Msg {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").expect("an empty line after the headers");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let headers = lines
            .map(|l| {
                let (name, value) = l.split_once(':').expect("a header line");
                (name.trim().to_owned(), value.trim().to_owned())
            })
            .collect();
        let m = Msg { start, headers, body: body.to_owned() };
        assert_eq!(m.header("Content-Length").parse::<usize>().unwrap(), m.body.len(), "{text}");
        m
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        if self.start.starts_with("SIP/2.0 ") { self.start[8..11].parse().unwrap() } else { 0 }
    }

    pub fn method(&self) -> &str {
        if self.status() > 0 {
            self.header("CSeq").split(' ').nth(1).unwrap()
        } else {
            self.start.split(' ').next().unwrap()
        }
    }

    pub fn is(&self, method: &str, status: u16) -> bool {
        self.method() == method && self.status() == status
    }

    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    pub fn cseq(&self) -> u32 {
        self.header("CSeq").split(' ').next().unwrap().parse().unwrap()
    }

    pub fn call_id(&self) -> &str {
        self.header("Call-ID")
    }

    pub fn tag(&self, name: &str) -> &str {
        self.header(name).split(";tag=").nth(1).unwrap_or_default()
    }

    pub fn branch(&self) -> &str {
        let via = self.header("Via");
        via.split("branch=").nth(1).and_then(|b| b.split(';').next()).unwrap_or_default()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in self.headers.iter().filter(|(n, _)| n != "Content-Length") {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body);
        text.into_bytes()
    }

    pub fn with(mut self, name: &str, value: &str) -> Msg {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Msg {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    pub fn set(self, name: &str, value: &str) -> Msg {
        self.without(name).with(name, value)
    }

    /// The answer of a user agent server.
    pub fn reply(&self, status: u16, reason: &str, tag: &str) -> Msg {
        let mut m = Msg { start: format!("SIP/2.0 {status} {reason}"), headers: Vec::new(), body: String::new() };
        for (name, value) in &self.headers {
            match name.to_ascii_lowercase().as_str() {
                "via" | "from" | "call-id" | "cseq" => m.headers.push((name.clone(), value.clone())),
                "record-route" if (101..300).contains(&status) => m.headers.push((name.clone(), value.clone())),
                "to" if status > 100 && !value.contains(";tag=") => {
                    m.headers.push((name.clone(), format!("{value};tag={tag}")));
                }
                "to" => m.headers.push((name.clone(), value.clone())),
                _ => {}
            }
        }
        m
    }

    /// The ACK for a failure, hop by hop.
    pub fn ack_failure(&self, response: &Msg) -> Msg {
        Msg {
            start: format!("ACK {} SIP/2.0", self.uri()),
            headers: vec![
                ("Via".into(), self.header("Via").into()),
                ("From".into(), self.header("From").into()),
                ("To".into(), response.header("To").into()),
                ("Call-ID".into(), self.call_id().into()),
                ("CSeq".into(), format!("{} ACK", self.cseq())),
                ("Max-Forwards".into(), "70".into()),
            ],
            body: String::new(),
        }
    }

    pub fn cancel(&self) -> Msg {
        let mut m = self.ack_failure(self);
        m.start = format!("CANCEL {} SIP/2.0", self.uri());
        m.set("CSeq", &format!("{} CANCEL", self.cseq())).set("To", self.header("To"))
    }
}

pub const SDP: &str = "v=0\r\no=x 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";

/// A user agent's INVITE without To-tag.
pub fn invite(from: std::net::SocketAddr, edge: std::net::SocketAddr, call: &str, to: &str, cseq: u32) -> Msg {
    Msg {
        start: format!("INVITE sip:{to}@{edge} SIP/2.0"),
        headers: vec![
            ("Via".into(), format!("SIP/2.0/UDP {from};branch=z9hG4bK-{call}-{cseq}")),
            ("Max-Forwards".into(), "70".into()),
            ("From".into(), format!("<sip:+4917012345@{from}>;tag=f{call}")),
            ("To".into(), format!("<sip:{to}@{edge}>")),
            ("Call-ID".into(), call.into()),
            ("CSeq".into(), format!("{cseq} INVITE")),
            ("Contact".into(), format!("<sip:uac@{from}>")),
            ("User-Agent".into(), "test/1".into()),
            ("Content-Type".into(), "application/sdp".into()),
        ],
        body: SDP.to_owned(),
    }
}

/// A dialog as one party holds it.
#[derive(Debug, Clone)]
pub struct Dialog {
    pub local: String,
    pub remote: String,
    pub call_id: String,
    pub target: String,
    pub routes: Vec<String>,
    pub cseq: u32,
    pub via: std::net::SocketAddr,
}

fn uri_in(value: &str) -> String {
    value.split('<').nth(1).and_then(|v| v.split('>').next()).unwrap_or(value).to_owned()
}

impl Dialog {
    /// The caller's view, from its INVITE and the 2xx.
    pub fn caller(via: std::net::SocketAddr, answer: &Msg) -> Dialog {
        Dialog {
            local: answer.header("From").into(),
            remote: answer.header("To").into(),
            call_id: answer.call_id().into(),
            target: uri_in(answer.header("Contact")),
            routes: answer.all("Record-Route").into_iter().rev().map(str::to_owned).collect(),
            cseq: answer.cseq(),
            via,
        }
    }

    /// The callee's view, from the INVITE it received and the 2xx it sent.
    pub fn callee(via: std::net::SocketAddr, invite: &Msg, answer: &Msg) -> Dialog {
        Dialog {
            local: answer.header("To").into(),
            remote: answer.header("From").into(),
            call_id: answer.call_id().into(),
            target: uri_in(invite.header("Contact")),
            routes: invite.all("Record-Route").into_iter().map(str::to_owned).collect(),
            cseq: 100,
            via,
        }
    }

    pub fn request(&mut self, method: &str) -> Msg {
        if method != "ACK" {
            self.cseq += 1;
        }
        // Two dialogs of one INVITE number their requests alike.
        let tag = self.remote.split(";tag=").nth(1).unwrap_or_default();
        let mut m = Msg {
            start: format!("{method} {} SIP/2.0", self.target),
            headers: vec![
                (
                    "Via".into(),
                    format!("SIP/2.0/UDP {};branch=z9hG4bK-{}-{method}-{}-{tag}", self.via, self.call_id, self.cseq),
                ),
                ("Max-Forwards".into(), "70".into()),
            ],
            body: String::new(),
        };
        for route in &self.routes {
            m.headers.push(("Route".into(), route.clone()));
        }
        m.with("From", &self.local)
            .with("To", &self.remote)
            .with("Call-ID", &self.call_id)
            .with("CSeq", &format!("{} {method}", self.cseq))
    }
}
