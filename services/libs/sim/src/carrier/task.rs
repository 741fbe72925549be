//! The one task of a carrier: socket, timers and commands in, the two sides' machines out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::callee::{CalleeTimer, Callees};
use super::caller::{CallerTimer, Callers};
use super::{CarrierConfig, Command, Open};
use crate::ledger::Ledger;
use crate::rng::Rng;
use crate::sip::{Credentials, Endpoint, Incoming, Message, ServerTx};
use crate::timers::Timers;

#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    Caller(u64, CallerTimer),
    Callee(u64, CalleeTimer),
}

/// What both sides of a carrier share.
pub(super) struct Context {
    pub endpoint: Endpoint,
    pub ledger: Ledger,
    pub trunk: Arc<str>,
    pub edge: SocketAddr,
    pub credentials: Option<Credentials>,
    pub ring_limit: Duration,
    pub timers: Timers<Due>,
    pub rng: Rng,
    pub seed: u64,
}

/// How fast a carrier lets go of all its calls: 250 a second.
const TURN: Duration = Duration::from_millis(4);

/// When the next of many calls hangs up.
pub(super) struct Turns(Duration);

impl Turns {
    pub fn next(&mut self) -> Duration {
        self.0 += TURN;
        self.0
    }
}

impl Context {
    pub fn turns(&self) -> Turns {
        Turns(Duration::ZERO)
    }

    pub fn arm(&mut self, after: Duration, due: Due) {
        self.timers.arm(Instant::now() + after, due);
    }

    pub fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.trunk, self.endpoint.local())
    }

    pub fn respond(&mut self, tx: ServerTx, request: &Message, code: u16, reason: &str, to_tag: Option<&str>) {
        self.endpoint.respond(tx, &Message::response_to(request, code, reason, to_tag));
    }
}

pub(super) struct CarrierTask {
    context: Context,
    callers: Callers,
    callees: Callees,
    max_open: usize,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
}

impl CarrierTask {
    pub fn new(config: CarrierConfig, commands: mpsc::Receiver<Command>, stop: CancellationToken) -> io::Result<Self> {
        let rng = Rng::new(config.seed).fork(&config.id);
        let endpoint = Endpoint::bind_timed(config.bind, rng.fork("sip").next_u64(), true, config.timing)?;
        Ok(Self {
            context: Context {
                endpoint,
                ledger: config.ledger,
                trunk: config.id.as_str().into(),
                edge: config.edge,
                credentials: config.credentials,
                ring_limit: config.ring_limit,
                timers: Timers::default(),
                rng: rng.fork("calls"),
                seed: config.seed,
            },
            callers: Callers::default(),
            callees: Callees::new(config.callee),
            max_open: config.max_open,
            commands,
            stop,
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.context.endpoint.local()
    }

    /// Order of the select: stopping first; then datagrams before new plans, so that a busy carrier serves the calls it has before
    /// it takes more.
    pub async fn run(mut self) {
        loop {
            let deadline = self.context.timers.deadline();
            let wake = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let room = self.callers.len() < self.max_open;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = wake => self.timers(),
                event = self.context.endpoint.next() => self.incoming(event),
                command = self.commands.recv(), if room => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
            }
        }
    }

    fn timers(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.context.timers.due(now) {
            match due {
                Due::Caller(id, timer) => self.callers.timer(&mut self.context, id, timer),
                Due::Callee(id, timer) => self.callees.timer(&mut self.context, id, timer),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Place(plan) => self.callers.place(&mut self.context, *plan),
            Command::SetEdge(edge) => self.context.edge = edge,
            Command::HangUpAll => {
                self.callers.hang_up_all(&mut self.context);
                self.callees.hang_up_all(&mut self.context);
            }
            Command::Open(answer) => {
                // The asker may have gone meanwhile; then nobody wants to know.
                let _ = answer.send(Open { placed: self.callers.len(), received: self.callees.len() });
            }
        }
    }

    fn incoming(&mut self, event: Incoming) {
        let context = &mut self.context;
        match event {
            Incoming::Request { tx, message, .. } => self.request(tx, message),
            Incoming::Ack { .. } => {}
            Incoming::Cancelled { tx, .. } => self.callees.cancelled(context, tx),
            Incoming::AckTimeout { tx } => self.callees.no_ack(context, tx),
            Incoming::Response { tx, message, .. } => {
                if !self.callers.response(context, tx, &message) {
                    self.callees.response(context, tx, &message);
                }
            }
            Incoming::Timeout { tx, .. } => {
                if !self.callers.timeout(context, tx) {
                    self.callees.timeout(context, tx);
                }
            }
        }
    }

    fn request(&mut self, tx: ServerTx, message: Message) {
        let context = &mut self.context;
        if message.to_tag().is_some() {
            let known = self.callers.request(context, tx, &message) || self.callees.request(context, tx, &message);
            if !known {
                context.respond(tx, &message, 481, "Call/Transaction Does Not Exist", None);
            }
            return;
        }
        match message.method() {
            Some("INVITE") => self.callees.invited(context, tx, message),
            Some("OPTIONS") => {
                let mut answer = Message::response_to(&message, 200, "OK", Some("options"));
                answer.add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE");
                context.endpoint.respond(tx, &answer);
            }
            _ => context.respond(tx, &message, 405, "Method Not Allowed", Some("none")),
        }
    }
}

/// Answers what the far end may ask inside a dialog that goes on: 200, with a session description where one was offered.
pub(super) fn answer_in_dialog(context: &mut Context, tx: ServerTx, message: &Message) {
    let mut answer = Message::response_to(message, 200, "OK", None);
    if matches!(message.method(), Some("INVITE" | "UPDATE")) {
        answer.add("Contact", context.contact());
        answer.set_body("application/sdp", super::sdp::body(context.endpoint.local(), context.rng.below(10_000)));
    }
    context.endpoint.respond(tx, &answer);
}
