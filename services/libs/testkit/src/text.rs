//! SIP messages as text, on purpose without the product's parser: a bug there must not hide here.

use std::fmt::Write;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The first line.
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Message {
    #[must_use]
    pub fn request(method: &str, uri: &str) -> Message {
        Message { start: format!("{method} {uri} SIP/2.0"), headers: Vec::new(), body: String::new() }
    }

    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let header = |line: &str| line.split_once(':').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()));
        let headers = lines.map(header).collect::<Option<Vec<_>>>()?;
        let message = Message { start, headers, body: body.to_owned() };
        (message.get("Content-Length").parse() == Ok(message.body.len())).then_some(message)
    }

    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length")) {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{}", self.body.len(), self.body);
        text.into_bytes()
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first of that name; empty without one.
    #[must_use]
    pub fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    /// Zero for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// Of a response, the one that its CSeq names.
    #[must_use]
    pub fn method(&self) -> &str {
        let line =
            if self.status() > 0 { self.get("CSeq").split_once(' ').map_or("", |(_, m)| m) } else { &self.start };
        line.split(' ').next().unwrap_or_default()
    }

    #[must_use]
    pub fn is(&self, method: &str, status: u16) -> bool {
        self.method() == method && self.status() == status
    }

    #[must_use]
    pub fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// User part of the request URI.
    #[must_use]
    pub fn user(&self) -> &str {
        let rest = self.uri().split_once(':').map_or("", |(_, rest)| rest);
        rest.split_once('@').map_or("", |(user, _)| user)
    }

    #[must_use]
    pub fn cseq(&self) -> u32 {
        self.get("CSeq").split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    #[must_use]
    pub fn call_id(&self) -> &str {
        self.get("Call-ID")
    }

    #[must_use]
    pub fn tag<'a>(&'a self, name: &'a str) -> &'a str {
        self.get(name).split_once(";tag=").map_or("", |(_, tag)| tag.split(';').next().unwrap_or_default())
    }

    /// The URI between the angle brackets of an address.
    #[must_use]
    pub fn address<'a>(&'a self, name: &'a str) -> &'a str {
        inside(self.get(name))
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Message {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Message {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    #[must_use]
    pub fn with_body(mut self, kind: &str, body: &str) -> Message {
        self = self.with("Content-Type", kind);
        self.body = body.to_owned();
        self
    }

    /// The answer of a user agent server, whose tag is added where there is none.
    #[must_use]
    pub fn reply(&self, status: u16, phrase: &str, tag: &str) -> Message {
        let mut reply =
            Message { start: format!("SIP/2.0 {status} {phrase}"), headers: Vec::new(), body: String::new() };
        for (name, value) in &self.headers {
            let keep = match name.to_ascii_lowercase().as_str() {
                "via" | "from" | "to" | "call-id" | "cseq" => true,
                "record-route" => (101..300).contains(&status),
                "path" => self.method() == "REGISTER" && status == 200,
                _ => false,
            };
            let needs_tag = name.eq_ignore_ascii_case("To") && status > 100 && !value.contains(";tag=");
            if keep {
                let value = if needs_tag { format!("{value};tag={tag}") } else { value.clone() };
                reply.headers.push((name.clone(), value));
            }
        }
        reply
    }

    /// The ACK of a failure, hop by hop: of the request as it was sent.
    #[must_use]
    pub fn ack_of(&self, response: &Message) -> Message {
        let via = self.get("Via").to_owned();
        let mut ack = Message::request("ACK", self.uri()).with("Via", via).with("Max-Forwards", "70");
        for route in self.all("Route") {
            ack = ack.with("Route", route);
        }
        ack.with("From", self.get("From"))
            .with("To", response.get("To"))
            .with("Call-ID", self.call_id())
            .with("CSeq", format!("{} ACK", self.cseq()))
    }
}

#[must_use]
pub fn inside(value: &str) -> &str {
    let start = value.find('<').map_or(0, |at| at + 1);
    let end = value[start..].find('>').map_or(value.len(), |at| start + at);
    &value[start..end]
}

/// One side of a dialog: how the next request in it looks.
#[derive(Debug, Clone)]
pub struct Dialog {
    pub call_id: String,
    pub local: String,
    pub remote: String,
    pub target: String,
    pub routes: Vec<String>,
    pub cseq: u32,
}

impl Dialog {
    /// Of whoever sent the request that was answered so.
    #[must_use]
    pub fn caller(answer: &Message) -> Dialog {
        let mut routes: Vec<String> = answer.all("Record-Route").map(str::to_owned).collect();
        routes.reverse();
        Dialog {
            call_id: answer.call_id().to_owned(),
            local: answer.get("From").to_owned(),
            remote: answer.get("To").to_owned(),
            target: answer.address("Contact").to_owned(),
            routes,
            cseq: answer.cseq(),
        }
    }

    /// Of whoever answered.
    #[must_use]
    pub fn callee(invite: &Message, answer: &Message) -> Dialog {
        Dialog {
            call_id: invite.call_id().to_owned(),
            local: answer.get("To").to_owned(),
            remote: invite.get("From").to_owned(),
            target: invite.address("Contact").to_owned(),
            routes: invite.all("Record-Route").map(str::to_owned).collect(),
            cseq: 0,
        }
    }

    /// The next request, without a Via.
    pub fn request(&mut self, method: &str) -> Message {
        if method != "ACK" {
            self.cseq += 1;
        }
        let mut request = Message::request(method, &self.target).with("Max-Forwards", "70");
        for route in &self.routes {
            request = request.with("Route", route.as_str());
        }
        request
            .with("From", self.local.as_str())
            .with("To", self.remote.as_str())
            .with("Call-ID", self.call_id.as_str())
            .with("CSeq", format!("{} {method}", self.cseq))
    }
}
