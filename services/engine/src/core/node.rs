//! One FreeSWITCH node as the engine sees it: its link, its channels, the callers in menus.
//!
//! Pure: [`Node::handle`] takes the time and a frame (or the loss of the connection), [`Node::poll`] gives what is to be done in
//! order, [`Node::deadline`] says when to call again without an input. What must hold:
//!
//! - an event is published before any command that it causes, and the events of a channel in the order in which they came;
//! - a command goes only to a channel that parked with our dialplan's mark on it, and only when `control = "own"`;
//! - whatever the node sends, nothing here fails: odd events are counted and left out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use domain::Now;
use domain::identity::Keyring;
use esl::command::{Api, Command, Uuid};
use esl::{Event, Format, Frame, Index, Kind, Reply, fields as f};
use schemas::{ChannelEvent, IvrDecision, NodeHealth};

use super::act;
use super::channel::Table;
use super::health::Observer;
use super::link::{Closing, Link, Phase, Rhythm, Sent};
use super::menu::{self, Menu, Run};
use super::snapshot;
use super::subscription::asked_for;
use super::tally::Tally;

mod callers;

/// How often the deadlines of callers are looked at.
const SWEEP_US: u64 = 250_000;

/// How long the deadlines of callers wait for the snapshot of a new connection.
const SNAPSHOT_US: u64 = 3_000_000;

/// What a node is told once.
#[derive(Debug)]
pub(crate) struct Setup {
    pub observer: Observer,
    /// Names the password's setting in an error, never the password.
    pub setting: String,
    pub auth: Command,
    pub subscription: Command,
    pub keys: Arc<Keyring>,
    pub rhythm: Rhythm,
    /// `None`: `control = "observe"`, no channel is ever commanded.
    pub menu: Option<Arc<Menu>>,
}

#[derive(Debug)]
pub(crate) enum Input<'a> {
    Connected,
    Frame(&'a Frame),
    Lost(Closing),
    Tick,
}

#[derive(Debug)]
pub(crate) enum Action {
    Send(Command),
    Channel(Box<ChannelEvent>),
    Decision(Box<IvrDecision>),
    Health(Box<NodeHealth>),
    Close(Closing),
}

#[derive(Debug)]
struct Caller {
    uuid: Uuid,
    /// Whose call it is; kept here because the channel may be gone when the last decision is told.
    call: String,
    run: Run,
}

#[derive(Debug)]
pub(crate) struct Node {
    setup: Setup,
    link: Link,
    table: Table,
    callers: HashMap<String, Caller>,
    actions: VecDeque<Action>,
    index: Index,
    core_uuid: Option<String>,
    /// Channels that the snapshot of this connection no longer listed; part of a new epoch's loss.
    vanished: usize,
    lag_us: Option<i64>,
    /// What the node said about its leaving, for the report when the socket closes.
    farewell: Option<String>,
    swept: u64,
    pub tally: Tally,
}

impl Node {
    pub fn new(setup: Setup, now: Now) -> Self {
        Self {
            link: Link::new(setup.rhythm, now),
            setup,
            table: Table::default(),
            callers: HashMap::new(),
            actions: VecDeque::new(),
            index: Index::new(),
            core_uuid: None,
            vanished: 0,
            lag_us: None,
            farewell: None,
            swept: now.mono_us,
            tally: Tally::default(),
        }
    }

    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        match input {
            Input::Connected => {
                self.link.connected(now);
                self.table.connected();
                self.vanished = 0;
                self.farewell = None;
            }
            Input::Frame(frame) => {
                self.link.heard(now);
                self.frame(now, frame);
            }
            Input::Lost(why) => self.lost(now, &why),
            Input::Tick => {}
        }
        self.due(now);
    }

    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub fn deadline(&self) -> Option<u64> {
        let sweep = (self.is_up() && !self.callers.is_empty()).then_some(self.swept + SWEEP_US);
        match (self.link.deadline(), sweep) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub fn pause_ms(&self, why: &Closing) -> u64 {
        self.link.pause_ms(why.is_refusal())
    }

    pub fn is_up(&self) -> bool {
        self.link.phase == Phase::Up
    }

    /// Connections that came up since the engine started.
    pub fn connections(&self) -> u64 {
        self.link.connections
    }

    pub fn channels(&self) -> usize {
        self.table.len()
    }

    pub fn callers(&self) -> usize {
        self.callers.len()
    }

    pub fn core_uuid(&self) -> Option<&str> {
        self.core_uuid.as_deref()
    }

    pub fn lag_us(&self) -> Option<i64> {
        self.lag_us
    }

    fn due(&mut self, now: Now) {
        if let Some(why) = self.link.dead(now) {
            self.actions.push_back(Action::Close(why));
            return;
        }
        if self.link.ping_due(now) {
            self.send(Sent::Ping, act::ping());
        }
        // While the link is away nothing could be done about a late caller; when it is back, every step is done again.
        if self.is_up() && now.mono_us >= self.swept + SWEEP_US {
            self.swept = now.mono_us;
            self.sweep(now);
        }
    }

    fn send(&mut self, what: Sent, command: Command) {
        // A link that is down takes nothing: the step is done again, or has a deadline.
        if self.link.phase == Phase::Down {
            self.tally.commands_unsent += 1;
            return;
        }
        if let Err(why) = self.link.sent(what, command.answered_by()) {
            self.actions.push_back(Action::Close(why));
        }
        self.actions.push_back(Action::Send(command));
    }

    fn frame(&mut self, now: Now, frame: &Frame) {
        match frame.kind() {
            Kind::EventPlain => self.event(now, frame, Format::Plain),
            Kind::EventJson => self.event(now, frame, Format::Json),
            Kind::CommandReply => self.reply(now, frame, esl::command::AnsweredBy::CommandReply),
            Kind::ApiResponse => self.reply(now, frame, esl::command::AnsweredBy::ApiResponse),
            Kind::AuthRequest => {
                self.link.phase = Phase::Authenticating;
                self.send(Sent::Password, self.setup.auth.clone());
            }
            Kind::RudeRejection => self.close(Closing::NotAllowed { setting: self.setup.setting.clone() }),
            Kind::DisconnectNotice => {
                let text = String::from_utf8_lossy(frame.body());
                self.farewell = Some(text.lines().next().unwrap_or("").chars().take(80).collect());
            }
            Kind::Other => self.tally.events_ignored += 1,
        }
    }

    fn close(&mut self, why: Closing) {
        self.actions.push_back(Action::Close(why));
    }

    fn reply(&mut self, now: Now, frame: &Frame, by: esl::command::AnsweredBy) {
        let (Some(sent), Some(reply)) = (self.link.replied(by), Reply::read(frame)) else { return };
        match (sent, reply) {
            (Sent::Password, Reply::Failed(_)) => {
                self.close(Closing::BadPassword { setting: self.setup.setting.clone() })
            }
            (Sent::Password, _) => {
                self.link.phase = Phase::Subscribing;
                self.send(Sent::Subscription, self.setup.subscription.clone());
            }
            (Sent::Subscription, Reply::Failed(text)) => self.close(Closing::NoSubscription(text)),
            (Sent::Subscription, _) => self.up(now),
            (Sent::Snapshot, Reply::Text(text)) => self.reconcile(now, &text),
            (Sent::Channel(uuid), Reply::Failed(_)) => {
                self.tally.commands_refused += 1;
                self.tell_caller(now, &uuid, menu::Input::Refused);
            }
            _ => {}
        }
    }

    fn up(&mut self, now: Now) {
        let again = self.table.len() > 0;
        let down_us = self.link.up(now);
        let report = self.setup.observer.link_up(self.core_uuid.as_deref(), down_us, self.link.connections - 1, now);
        self.actions.push_back(Action::Health(Box::new(report)));
        if again {
            // Deadlines that passed meanwhile are judged after the snapshot has told who is still there.
            self.swept = now.mono_us + SNAPSHOT_US;
            self.send(Sent::Snapshot, Command::api(&Api::ShowChannels));
        }
    }

    fn lost(&mut self, now: Now, why: &Closing) {
        let said = self.farewell.take().map(Closing::Goodbye);
        let why = said.as_ref().filter(|_| matches!(why, Closing::Io(_))).unwrap_or(why);
        if self.link.lost(now) {
            let core = self.core_uuid.as_deref();
            let report = self.setup.observer.link_down(
                core,
                &why.to_string(),
                self.lag_us,
                self.link.connections.saturating_sub(1),
                now,
            );
            self.actions.push_back(Action::Health(Box::new(report)));
        }
        // What was not sent yet belonged to the lost connection.
        self.actions.retain(|action| !matches!(action, Action::Send(_) | Action::Close(_)));
    }

    /// After a lost link: what is gone is forgotten and counted, what is still there goes on.
    fn reconcile(&mut self, now: Now, text: &str) {
        let Some(listed) = snapshot::read(text) else { return };
        self.swept = now.mono_us;
        let gone = self.table.keep_listed(|uuid| listed.contains_key(uuid));
        self.tally.channels_forgotten += gone.len() as u64;
        self.vanished += gone.len();
        for uuid in gone {
            self.tell_caller(now, &uuid, menu::Input::HungUp { cause: None });
        }
        let waiting: Vec<(String, String)> =
            self.callers.keys().filter_map(|uuid| Some((uuid.clone(), listed.get(uuid)?.clone()))).collect();
        for (uuid, application) in waiting {
            self.tell_caller(now, &uuid, menu::Input::Resumed { application });
        }
    }

    fn event(&mut self, now: Now, frame: &Frame, format: Format) {
        // The index is lent to the event and given back, so that the node itself stays free.
        let mut index = std::mem::take(&mut self.index);
        match index.read(frame.body(), format) {
            Ok(event) => self.read_event(now, &event),
            Err(_) => self.tally.events_unread += 1,
        }
        self.index = index;
    }

    fn read_event(&mut self, now: Now, event: &Event<'_>) {
        self.tally.events += 1;
        self.epoch(now, event);
        if let Some(at) = event.number::<i64>(f::EVENT_TIMESTAMP) {
            self.lag_us = Some((now.wall_us - at).max(0));
        }
        match event.name() {
            "HEARTBEAT" => self.heartbeat(now, event),
            // Its last events are still to come; the socket then closes by itself.
            "SHUTDOWN" => self.farewell = Some("the node is shutting down".to_owned()),
            name if asked_for(name, event) => self.channel_event(now, event),
            // Without a subscription we cannot tell what comes before or after it: a CHANNEL_STATE behind the end of a channel
            // would bring the channel back.
            _ => self.tally.events_ignored += 1,
        }
    }

    fn heartbeat(&mut self, now: Now, event: &Event<'_>) {
        let before = self.link.beat(now);
        self.tally.heartbeats += 1;
        if let Some(core) = self.core_uuid.as_deref() {
            let report = self.setup.observer.heartbeat(event, core, before, now);
            self.actions.push_back(Action::Health(Box::new(report)));
        }
    }

    /// A new Core-UUID is a restart: no channel of the old one can be alive.
    fn epoch(&mut self, now: Now, event: &Event<'_>) {
        let Some(core) = event.raw(f::CORE_UUID) else { return };
        if self.core_uuid.as_deref().map(str::as_bytes) == Some(core) || core.is_empty() {
            return;
        }
        let core = String::from_utf8_lossy(core).into_owned();
        let lost = self.table.clear();
        self.tally.channels_forgotten += lost as u64;
        let before = self.core_uuid.replace(core.clone());
        let last_seen = before.as_ref().map(|_| self.link.last_heard());
        let report = self.setup.observer.epoch(before.as_deref(), &core, lost + self.vanished, last_seen, now);
        self.vanished = 0;
        self.actions.push_back(Action::Health(Box::new(report)));
        self.callers.clear();
    }
}
