//! A small SIP user agent for tests: it registers, calls, is called and hangs up, over UDP, TCP, TLS and WebSocket.
//!
//! It is a script, not a phone: the test says what happens next, and whatever comes out of turn waits until it is asked for.
//! Everything goes over its one connection (its outbound proxy), as clients behind NAT do it.

mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use sip::digest::{Challenge, answer};
use tokio::time::{Instant, timeout_at};

use crate::text::{Dialog, Message};
pub use wire::Target;
use wire::Wire;

const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(15);
/// T1: over UDP a request is said again until something comes back.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Account {
    pub user: String,
    pub password: String,
    pub domain: String,
}

#[derive(Debug)]
pub struct Agent {
    account: Account,
    target: Target,
    wire: Wire,
    local: SocketAddr,
    /// Came before anybody asked for it.
    waiting: VecDeque<Message>,
    count: u32,
}

/// A call that was sent and has no final answer yet.
#[derive(Debug)]
pub struct Outgoing {
    invite: Message,
}

/// A call with an answer.
#[derive(Debug, Clone)]
pub struct Call {
    pub dialog: Dialog,
}

/// One call from its INVITE to its end, both sides of it.
pub async fn converse(caller: &mut Agent, callee: &mut Agent, caller_ends: bool) -> anyhow::Result<()> {
    let name = callee.account.user.clone();
    let ringing = caller.call(&name).await?;
    let invite = callee.called().await?;
    let mut theirs = callee.accept(&invite).await?;
    let mut ours = caller.answered(&ringing).await?;
    if caller_ends {
        caller.hang_up(&mut ours).await?;
        callee.hung_up(&theirs).await
    } else {
        callee.hang_up(&mut theirs).await?;
        caller.hung_up(&ours).await
    }
}

impl Agent {
    pub async fn connect(account: Account, target: Target) -> anyhow::Result<Agent> {
        let (wire, local) = target.open().await.with_context(|| format!("{} connects", account.user))?;
        Ok(Agent { account, target, wire, local, waiting: VecDeque::new(), count: 0 })
    }

    /// Registers, answering the challenge that is expected; the last answer of the registrar.
    pub async fn register(&mut self, expires_s: u32) -> anyhow::Result<Message> {
        let uri = format!("sip:{}", self.account.domain);
        let own = format!("<sip:{}@{}>", self.account.user, self.account.domain);
        let contact = format!("{};reg-id=1;+sip.instance=\"<urn:uuid:{}>\"", self.contact(), self.instance());
        let (tag, call_id) = (self.unique("f"), self.unique("reg"));
        let mut request = Message::request("REGISTER", &uri)
            .with("Max-Forwards", "70")
            .with("From", format!("{own};tag={tag}"))
            .with("To", own)
            .with("Call-ID", call_id)
            .with("CSeq", "1 REGISTER")
            .with("Contact", contact)
            .with("Expires", expires_s.to_string())
            .with("Supported", "path, outbound");
        let response = self.ask(request.clone()).await?;
        if response.status() != 401 {
            return Ok(response);
        }
        let value = response.get("WWW-Authenticate").to_owned();
        let challenge = Challenge::parse(value.as_bytes());
        let (user, password) = (self.account.user.clone(), self.account.password.clone());
        let credentials = answer(&challenge, &user, &password, "REGISTER", &uri, "c0ffee", 1);
        let credentials = credentials.context("a challenge that can be answered")?;
        request = request.without("CSeq").with("CSeq", "2 REGISTER").with("Authorization", credentials);
        self.ask(request).await
    }

    /// Sends an INVITE.
    pub async fn call(&mut self, user: &str) -> anyhow::Result<Outgoing> {
        let uri = format!("sip:{user}@{}", self.account.domain);
        let (tag, call_id) = (self.unique("f"), self.unique("call"));
        let invite = Message::request("INVITE", &uri)
            .with("Max-Forwards", "70")
            .with("From", format!("<sip:{}@{}>;tag={}", self.account.user, self.account.domain, tag))
            .with("To", format!("<{uri}>"))
            .with("Call-ID", call_id)
            .with("CSeq", "1 INVITE")
            .with("Contact", self.contact())
            .with_body("application/sdp", SDP);
        Ok(Outgoing { invite: self.send(invite).await? })
    }

    /// Waits for the 2xx of a call and acknowledges it; any other final answer is an error.
    pub async fn answered(&mut self, call: &Outgoing) -> anyhow::Result<Call> {
        match self.finished(call).await? {
            (200..=299, response) => {
                let mut dialog = Dialog::caller(&response);
                let ack = dialog.request("ACK");
                self.send(ack).await?;
                Ok(Call { dialog })
            }
            (_, response) => bail!("{}: {}", self.account.user, response.start),
        }
    }

    /// The final answer of a call; a failure is acknowledged.
    pub async fn finished(&mut self, call: &Outgoing) -> anyhow::Result<(u16, Message)> {
        let id = call.invite.call_id().to_owned();
        let is_final = |m: &Message| m.method() == "INVITE" && m.status() >= 200 && m.call_id() == id;
        let response = self.expect("the answer of a call", Some(&call.invite), is_final).await?;
        if response.status() >= 300 {
            let ack = call.invite.ack_of(&response);
            self.wire.send(&ack.bytes()).await?;
        }
        Ok((response.status(), response))
    }

    /// Waits until somebody calls.
    pub async fn called(&mut self) -> anyhow::Result<Message> {
        self.expect("a call", None, |m| m.is("INVITE", 0) && m.tag("To").is_empty()).await
    }

    /// Rings and answers; the call is up when the ACK came.
    pub async fn accept(&mut self, invite: &Message) -> anyhow::Result<Call> {
        let tag = self.unique("t");
        let contact = self.contact();
        self.reply(&invite.reply(180, "Ringing", &tag).with("Contact", contact.as_str())).await?;
        let ok = invite.reply(200, "OK", &tag).with("Contact", contact).with_body("application/sdp", SDP);
        self.reply(&ok).await?;
        let id = invite.call_id().to_owned();
        self.expect("the ACK", None, |m| m.is("ACK", 0) && m.call_id() == id).await?;
        Ok(Call { dialog: Dialog::callee(invite, &ok) })
    }

    /// Ends a call.
    pub async fn hang_up(&mut self, call: &mut Call) -> anyhow::Result<()> {
        let bye = call.dialog.request("BYE");
        let response = self.ask(bye).await?;
        if response.status() != 200 {
            bail!("{}: the BYE was answered with {}", self.account.user, response.start);
        }
        Ok(())
    }

    /// Waits until the other side ends the call.
    pub async fn hung_up(&mut self, call: &Call) -> anyhow::Result<()> {
        let id = call.dialog.call_id.clone();
        let bye = self.expect("the BYE", None, |m| m.is("BYE", 0) && m.call_id() == id).await?;
        self.reply(&bye.reply(200, "OK", "")).await
    }

    /// Sends a request and waits for its final answer.
    pub async fn ask(&mut self, request: Message) -> anyhow::Result<Message> {
        let sent = self.send(request).await?;
        let (id, cseq, method) = (sent.call_id().to_owned(), sent.cseq(), sent.method().to_owned());
        let fits = |m: &Message| m.status() >= 200 && m.call_id() == id && m.cseq() == cseq && m.method() == method;
        self.expect(&format!("the answer to {method}"), Some(&sent), fits).await
    }

    /// Puts our Via on top and sends.
    async fn send(&mut self, mut request: Message) -> anyhow::Result<Message> {
        let branch = self.unique("z9hG4bK");
        let via = format!("SIP/2.0/{} {};branch={branch};rport", self.target.via(), self.sent_by());
        request.headers.insert(0, ("Via".to_owned(), via));
        self.wire.send(&request.bytes()).await?;
        Ok(request)
    }

    async fn reply(&mut self, response: &Message) -> anyhow::Result<()> {
        Ok(self.wire.send(&response.bytes()).await?)
    }

    /// The first message that fits, sooner or later.
    async fn expect(
        &mut self,
        what: &str,
        unanswered: Option<&Message>,
        fits: impl Fn(&Message) -> bool,
    ) -> anyhow::Result<Message> {
        if let Some(at) = self.waiting.iter().position(&fits) {
            return self.waiting.remove(at).context("just found");
        }
        let user = self.account.user.clone();
        let until = Instant::now() + PATIENCE;
        let mut again = matches!(self.target, Target::Udp(_)).then_some(unanswered).flatten();
        loop {
            let pause = if again.is_some() { until.min(Instant::now() + AGAIN) } else { until };
            match timeout_at(pause, self.wire.receive()).await {
                Err(_) if Instant::now() >= until => bail!("{user} never got {what}; waiting: {:#?}", self.waiting),
                Err(_) => {
                    if let Some(request) = again {
                        self.wire.send(&request.bytes()).await?;
                    }
                }
                Ok(bytes) => {
                    let bytes = bytes.with_context(|| format!("{user} waits for {what}"))?;
                    if bytes.iter().all(|b| matches!(b, b'\r' | b'\n')) {
                        continue;
                    }
                    let message = Message::parse(&bytes);
                    let message = message.with_context(|| format!("{user}: {}", String::from_utf8_lossy(&bytes)))?;
                    again = again.filter(|request| message.call_id() != request.call_id());
                    if fits(&message) {
                        return Ok(message);
                    }
                    self.waiting.push_back(message);
                }
            }
        }
    }

    /// A page has no address of its own (RFC 7118 §5).
    fn sent_by(&self) -> String {
        if self.target.is_websocket() {
            format!("{}-{}.invalid", self.account.user.trim_start_matches('+'), self.local.port())
        } else {
            self.local.to_string()
        }
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{};transport={}>", self.account.user, self.sent_by(), self.target.param())
    }

    fn instance(&self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.local.port())
    }

    fn unique(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}x{}", self.local.port(), self.count)
    }
}
