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
use esl::command::{Api, Command, EventFormat, Uuid};
use esl::{Event, Format, Frame, Index, Kind, Reply, fields as f};
use schemas::{ChannelEvent, IvrDecision, NodeHealth};

use super::act;
use super::channel::{Skipped, Table, key_of};
use super::health::Observer;
use super::link::{Closing, Link, Phase, Rhythm, Sent};
use super::menu::{self, Do, Menu, Run};
use super::snapshot;
use super::tally::Tally;

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
            let late: Vec<String> = self
                .callers
                .iter()
                .filter(|(_, caller)| caller.run.deadline().is_some_and(|due| due <= now.mono_us))
                .map(|(uuid, _)| uuid.clone())
                .collect();
            for uuid in late {
                self.tell_caller(now, &uuid, menu::Input::Late);
            }
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

    fn channel_event(&mut self, now: Now, event: &Event<'_>) {
        let taken = self.table.take(event, &self.setup.keys, now);
        match taken {
            Ok(mut read) => {
                self.tally.published += 1;
                read.node_id.clone_from(&self.setup.observer.node_id);
                read.engine_id.clone_from(&self.setup.observer.engine_id);
                let (name, cause) = (read.event_type.clone(), read.hangup.as_ref().and_then(|h| h.cause.clone()));
                let duration_us = read.application.as_ref().and_then(|a| a.duration_us);
                let key = read.dtmf.as_ref().and_then(|d| Some((key_of(d)?, d.source.clone())));
                let uuid = read.leg_id.clone();
                self.actions.push_back(Action::Channel(Box::new(read)));
                self.follow(now, event, &uuid, &name, cause, duration_us, key);
            }
            Err(Skipped::Sensitive) => {
                self.tally.keys_withheld += 1;
                let key = event.get(f::DTMF_DIGIT).and_then(|d| d.chars().next()).map(|key| (key, None));
                if let (Some(uuid), Some(key)) = (event.get(f::UNIQUE_ID), key) {
                    self.follow(now, event, &uuid, "DTMF", None, None, Some(key));
                }
            }
            Err(Skipped::Unattributed) => self.tally.events_unattributed += 1,
            Err(Skipped::NoChannel | Skipped::NoSequence) => self.tally.events_ignored += 1,
        }
    }

    /// What an event of a channel means for its caller.
    #[expect(clippy::too_many_arguments, reason = "the few facts of one event, read once by the caller")]
    fn follow(
        &mut self,
        now: Now,
        event: &Event<'_>,
        uuid: &str,
        name: &str,
        cause: Option<String>,
        duration_us: Option<i64>,
        key: Option<(char, Option<String>)>,
    ) {
        if name == "CHANNEL_PARK" {
            return self.parked(now, event, uuid);
        }
        if !self.callers.contains_key(uuid) {
            return;
        }
        let input = match name {
            "DTMF" => key.map(|(key, source)| menu::Input::Key { key, source: source.map(|s| act::key_source(&s)) }),
            "PLAYBACK_START" => Some(menu::Input::PlaybackStarted),
            "PLAYBACK_STOP" => Some(menu::Input::PlaybackStopped { duration_us }),
            "CHANNEL_EXECUTE_COMPLETE" => act::done(event),
            "CHANNEL_BRIDGE" => Some(menu::Input::Bridged),
            "CHANNEL_HANGUP" | "CHANNEL_DESTROY" => Some(menu::Input::HungUp { cause }),
            _ => None,
        };
        if let Some(input) = input {
            self.tell_caller(now, uuid, input);
        }
    }

    /// The one place where the engine takes a channel under its control.
    fn parked(&mut self, now: Now, event: &Event<'_>, uuid: &str) {
        let Some(menu) = self.setup.menu.clone() else { return };
        if event.raw(f::TRUNKLINE_CONTROL) != Some(b"own") || self.callers.contains_key(uuid) {
            return;
        }
        let Ok(checked) = Uuid::new(uuid) else {
            self.tally.channels_refused += 1;
            return;
        };
        let mut out = Vec::new();
        let run = Run::start(menu, now, &mut out);
        let call = self.table.get(uuid).map(|channel| channel.call_text.clone()).unwrap_or_default();
        self.callers.insert(uuid.to_owned(), Caller { uuid: checked, call, run });
        self.perform(uuid, out);
    }

    fn tell_caller(&mut self, now: Now, uuid: &str, input: menu::Input) {
        let Some(caller) = self.callers.get_mut(uuid) else { return };
        let mut out = Vec::new();
        caller.run.handle(now, input, &mut out);
        let finished = caller.run.finished();
        self.perform(uuid, out);
        if finished {
            self.callers.remove(uuid);
        }
    }

    fn perform(&mut self, uuid: &str, todo: Vec<Do>) {
        let Some((channel, call)) = self.callers.get(uuid).map(|caller| (caller.uuid.clone(), caller.call.clone()))
        else {
            return;
        };
        for action in todo {
            match action {
                Do::Decide(mut decision) => {
                    decision.call_root_id.clone_from(&call);
                    self.complete(&mut decision, uuid);
                    self.tally.decisions += 1;
                    self.actions.push_back(Action::Decision(decision));
                }
                Do::Sensitive(on) => {
                    if let Some(channel) = self.table.get_mut(uuid) {
                        channel.sensitive = on;
                    }
                }
                command => match act::command(&channel, &command) {
                    Ok(command) => {
                        self.tally.commands += 1;
                        self.send(Sent::Channel(uuid.to_owned()), command);
                    }
                    // A checked menu cannot make one; the caller's deadline ends the call.
                    Err(_) => self.tally.commands_refused += 1,
                },
            }
        }
    }

    /// Adds to a decision which channel it is about and who decided.
    fn complete(&self, decision: &mut IvrDecision, uuid: &str) {
        decision.leg_id = uuid.to_owned();
        decision.channel_uuid = uuid.to_owned();
        decision.node_id.clone_from(&self.setup.observer.node_id);
        decision.engine_id.clone_from(&self.setup.observer.engine_id);
        decision.core_uuid = self.core_uuid.clone().unwrap_or_default();
    }
}

/// The subscription of `facts` §4.2 without the noisy `CHANNEL_STATE`; `CHANNEL_CALLSTATE` says what matters of it.
pub(crate) const EVENTS: [&str; 39] = [
    "CHANNEL_CREATE",
    "CHANNEL_CALLSTATE",
    "CHANNEL_PROGRESS",
    "CHANNEL_PROGRESS_MEDIA",
    "CHANNEL_ANSWER",
    "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE",
    "CHANNEL_HOLD",
    "CHANNEL_UNHOLD",
    "CHANNEL_PARK",
    "CHANNEL_UNPARK",
    "CHANNEL_ORIGINATE",
    "CHANNEL_OUTGOING",
    "CHANNEL_UUID",
    "CHANNEL_EXECUTE",
    "CHANNEL_EXECUTE_COMPLETE",
    "CHANNEL_APPLICATION",
    "CHANNEL_HANGUP",
    "CHANNEL_HANGUP_COMPLETE",
    "CHANNEL_DESTROY",
    "CALL_UPDATE",
    "DTMF",
    "PLAYBACK_START",
    "PLAYBACK_STOP",
    "RECORD_START",
    "RECORD_STOP",
    "DETECTED_TONE",
    "DETECTED_SPEECH",
    "HEARTBEAT",
    "SESSION_HEARTBEAT",
    "RECV_RTCP_MESSAGE",
    "BACKGROUND_JOB",
    "MODULE_LOAD",
    "SHUTDOWN",
    "sofia::register",
    "sofia::gateway_state",
    "sofia::expire",
    "callcenter::info",
    "conference::maintenance",
];

fn asked_for(name: &str, event: &Event<'_>) -> bool {
    let name = if name == "CUSTOM" { event.get(f::EVENT_SUBCLASS).unwrap_or_default() } else { name.into() };
    EVENTS.contains(&name.as_ref())
}

/// What to subscribe to, as a command.
pub(crate) fn subscription() -> Command {
    let events: Vec<esl::command::Event> = EVENTS
        .iter()
        .map(|name| esl::command::Event::new(name).expect("the names in this file are well formed"))
        .collect();
    Command::events(EventFormat::Plain, &events).expect("the list is not empty")
}
