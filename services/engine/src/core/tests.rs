use std::sync::Arc;

use domain::Now;
use domain::identity::Keyring;
use esl::{Command, Framer, Limits};
use schemas::{ChannelEvent, Event as _, IvrDecision, NodeHealth};

use super::node::{Action, Input, Node, Setup};
use super::*;

const A: &str = "0043554a-92bb-4593-abc0-d028bd916bd6";
const CORE: &str = "a16d571c-8575-4042-b397-ef41778b2edf";
const MAIN: &str = include_str!("../../../../infra/config/menus/main.toml");

fn at(ms: u64) -> Now {
    Now { wall_us: 1_795_226_344_000_000, mono_us: 1_000_000 }.plus_us(ms * 1000)
}

/// A node's core with a wire made of text at both ends.
struct Wire {
    node: Node,
    sent: Vec<String>,
    channels: Vec<ChannelEvent>,
    decisions: Vec<IvrDecision>,
    health: Vec<NodeHealth>,
    closed: Option<Closing>,
    sequence: u64,
    core: &'static str,
}

impl Wire {
    fn new(own: bool) -> Self {
        let menu = own.then(|| Arc::new(Menu::parse(MAIN, "+12025558001").expect("a menu")));
        let setup = Setup {
            observer: Observer { node_id: "node-a".into(), engine_id: "e1".into(), address: "127.0.0.1:8021".into() },
            setting: "engine.nodes[0] node-a".into(),
            auth: Command::auth("Example-esl-1").expect("a password"),
            subscription: subscription(),
            keys: Arc::new(Keyring::new(vec![("20261101".into(), vec![7; 32])]).expect("a key")),
            rhythm: Rhythm {
                ping_ms: 1000,
                dead_after_ms: 3000,
                backoff_min_ms: 100,
                backoff_max_ms: 2000,
                refused_ms: 30_000,
            },
            menu,
        };
        Self {
            node: Node::new(setup, at(0)),
            sent: Vec::new(),
            channels: Vec::new(),
            decisions: Vec::new(),
            health: Vec::new(),
            closed: None,
            sequence: 0,
            core: CORE,
        }
    }

    fn up(own: bool) -> Self {
        let mut wire = Self::new(own);
        wire.connect(0);
        wire
    }

    fn connect(&mut self, ms: u64) {
        self.node.handle(at(ms), Input::Connected);
        self.frame(ms, "Content-Type: auth/request\n\n");
        self.frame(ms, "Content-Type: command/reply\nReply-Text: +OK accepted\n\n");
        self.frame(ms, "Content-Type: command/reply\nReply-Text: +OK event listener enabled plain\n\n");
        assert!(self.node.is_up());
    }

    fn frame(&mut self, ms: u64, text: &str) {
        let mut framer = Framer::new(Limits::default());
        framer.push(text.as_bytes());
        let frame = framer.next().expect("well formed").expect("complete");
        self.node.handle(at(ms), Input::Frame(&frame));
        self.collect();
    }

    fn event(&mut self, ms: u64, name: &str, more: &str) {
        self.sequence += 1;
        let body = format!(
            "Event-Name: {name}\nCore-UUID: {}\nEvent-Sequence: {}\nEvent-Date-Timestamp: {}\n{more}\n",
            self.core,
            self.sequence,
            at(ms).wall_us
        );
        self.frame(ms, &format!("Content-Length: {}\nContent-Type: text/event-plain\n\n{body}", body.len()));
    }

    fn channel(&mut self, ms: u64, name: &str, more: &str) {
        let same = format!(
            "Unique-ID: {A}\nCall-Direction: inbound\nChannel-Call-UUID: {A}\nvariable_uuid: {A}\nCaller-Profile-Index: 1\n\
             Caller-Channel-Created-Time: 1795226344000000\n{more}"
        );
        self.event(ms, name, &same);
    }

    fn tick(&mut self, ms: u64) {
        self.node.handle(at(ms), Input::Tick);
        self.collect();
    }

    fn lose(&mut self, ms: u64) {
        self.node.handle(at(ms), Input::Lost(Closing::Io("reset".into())));
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(action) = self.node.poll() {
            match action {
                Action::Send(command) => self.sent.push(String::from_utf8(command.as_bytes().to_vec()).expect("text")),
                Action::Channel(event) => self.channels.push(*event),
                Action::Decision(decision) => self.decisions.push(*decision),
                Action::Health(report) => self.health.push(*report),
                Action::Close(why) => self.closed = Some(why),
            }
        }
    }

    /// Commands that name a channel.
    fn commands(&self) -> Vec<&String> {
        self.sent.iter().filter(|line| line.contains(A)).collect()
    }

    fn parked(&mut self, ms: u64, mark: &str) {
        self.channel(ms, "CHANNEL_CREATE", "");
        self.channel(ms, "CHANNEL_PARK", mark);
    }

    fn answer_keys(&mut self, ms: u64, token: u32, digit: char) {
        self.channel(ms, "DTMF", &format!("DTMF-Digit: {digit}\nDTMF-Source: INFO\n"));
        self.channel(
            ms,
            "CHANNEL_EXECUTE_COMPLETE",
            &format!("Application: play_and_get_digits\nApplication-UUID: trunkline-{token}\nvariable_trunkline_in_{token}: {digit}\n"),
        );
    }
}

const OWN: &str = "variable_trunkline_control: own\n";

#[test]
fn a_connection_authenticates_subscribes_and_is_reported() {
    let wire = Wire::up(true);
    assert_eq!(wire.sent[0], "auth Example-esl-1\n\n");
    assert!(
        wire.sent[1].starts_with("event plain CHANNEL_CREATE ") && wire.sent[1].contains(" CUSTOM sofia::register ")
    );
    assert!(!wire.sent[1].contains("CHANNEL_STATE"));
    assert_eq!(wire.health.iter().map(|h| h.event_type.as_str()).collect::<Vec<_>>(), ["link_up"]);
    assert_eq!(wire.health[0].check(), Ok(()));
}

#[test]
fn a_wrong_password_names_the_setting_and_waits_long() {
    let mut wire = Wire::new(true);
    wire.node.handle(at(0), Input::Connected);
    wire.frame(0, "Content-Type: auth/request\n\n");
    wire.frame(0, "Content-Type: command/reply\nReply-Text: -ERR invalid\n\n");
    let why = wire.closed.clone().expect("closed");
    assert!(why.to_string().contains("engine.nodes[0] node-a") && !why.to_string().contains("Example"), "{why}");
    wire.lose(1);
    assert_eq!(wire.node.pause_ms(&why), 30_000);
    assert!(wire.health.is_empty(), "a link that was never up did not go down");
}

#[test]
fn not_one_byte_is_written_for_a_channel_without_the_mark() {
    for mark in ["", "variable_trunkline_control: other\n", "variable_trunkline_control: OWN\n", "variable_x: own\n"] {
        let mut wire = Wire::up(true);
        let before = wire.sent.clone();
        wire.parked(10, mark);
        wire.channel(20, "DTMF", "DTMF-Digit: 1\n");
        wire.channel(
            30,
            "CHANNEL_EXECUTE_COMPLETE",
            "Application: play_and_get_digits\nApplication-UUID: trunkline-1\nvariable_trunkline_in_1: 1\n",
        );
        wire.channel(40, "CHANNEL_HANGUP", "Hangup-Cause: NORMAL_CLEARING\n");
        assert_eq!(wire.sent, before, "mark {mark:?}");
        assert_eq!(wire.channels.len(), 5, "it is published all the same");
        assert!(wire.decisions.is_empty());
    }
}

#[test]
fn a_mark_without_parking_is_no_permission() {
    let mut wire = Wire::up(true);
    wire.channel(10, "CHANNEL_CREATE", OWN);
    wire.channel(20, "CHANNEL_ANSWER", OWN);
    assert!(wire.commands().is_empty());
    assert!(wire.channels[1].controlled);
}

#[test]
fn observe_never_commands() {
    let mut wire = Wire::up(false);
    wire.parked(10, OWN);
    wire.tick(1100);
    assert!(wire.commands().is_empty());
    assert_eq!(wire.channels.len(), 2);
}

#[test]
fn a_marked_channel_is_answered_and_led_to_an_agent() {
    let mut wire = Wire::up(true);
    wire.parked(10, OWN);
    assert_eq!(*wire.commands()[0], format!("api uuid_answer {A}\n\n"));
    assert!(wire.commands()[1].contains("execute-app-arg: 1 1 1 5000 none tone_stream://%(300,50,600) tone_stream://%(300,50,300) trunkline_in_1 [12] 3000\n"));
    wire.answer_keys(2000, 1, '1');
    wire.answer_keys(4000, 2, '1');
    assert!(wire.commands().last().expect("a command").contains("execute-app-arg: sofia/gateway/edge/+12025558001\n"));
    wire.channel(5000, "CHANNEL_BRIDGE", "Other-Type: originatee\n");
    wire.channel(9000, "CHANNEL_HANGUP", "Hangup-Cause: NORMAL_CLEARING\n");
    wire.channel(9000, "CHANNEL_DESTROY", "");
    let told: Vec<&str> = wire.decisions.iter().map(|d| d.event_type.as_str()).collect();
    assert_eq!(told, ["menu_entered", "input", "menu_entered", "input", "menu_entered", "transferred", "completed"]);
    for decision in &wire.decisions {
        assert_eq!(decision.check(), Ok(()));
        assert_eq!(
            (decision.call_root_id.as_str(), decision.core_uuid.as_str()),
            (wire.channels[0].call_root_id.as_str(), CORE)
        );
    }
    for event in &wire.channels {
        assert_eq!(event.check(), Ok(()));
    }
    assert_eq!(wire.decisions[1].input.as_ref().and_then(|i| i.keys[0].source.clone()).as_deref(), Some("info"));
    assert_eq!((wire.node.channels(), wire.node.callers()), (0, 0));
}

#[test]
fn an_event_is_published_before_the_command_that_it_causes() {
    let mut wire = Wire::up(true);
    wire.channel(10, "CHANNEL_CREATE", "");
    let body = format!(
        "Event-Name: CHANNEL_PARK\nCore-UUID: {CORE}\nEvent-Sequence: 99\nUnique-ID: {A}\nvariable_uuid: {A}\nCall-Direction: inbound\n{OWN}\n"
    );
    let mut framer = Framer::new(Limits::default());
    framer.push(format!("Content-Length: {}\nContent-Type: text/event-plain\n\n{body}", body.len()).as_bytes());
    let frame = framer.next().expect("well formed").expect("complete");
    wire.node.handle(at(20), Input::Frame(&frame));
    assert!(matches!(wire.node.poll(), Some(Action::Channel(_))));
}

#[test]
fn a_marked_channel_with_an_odd_id_is_left_alone_and_counted() {
    let mut wire = Wire::up(true);
    let before = wire.sent.len();
    for id in ["all", "1-7002%40127.0.0.1", "x%0A%0Aapi%20system%20echo%20CANARY%0A%0A"] {
        let more = format!(
            "Unique-ID: {id}\nvariable_uuid: x\nCall-Direction: inbound\nCaller-Channel-Created-Time: 1795226344000000\n{OWN}"
        );
        wire.event(10, "CHANNEL_PARK", &more);
    }
    assert_eq!((wire.sent.len(), wire.node.tally.channels_refused), (before, 3));
}

#[test]
fn heartbeats_are_reported_with_their_rhythm_and_silence_ends_the_link() {
    let mut wire = Wire::up(true);
    let beat = "Session-Count: 12\nMax-Sessions: 5000\nIdle-CPU: 99.233333\nSession-Since-Startup: 100\n";
    wire.event(1000, "HEARTBEAT", beat);
    wire.event(2000, "HEARTBEAT", beat);
    let told: Vec<&str> = wire.health.iter().map(|h| h.event_type.as_str()).collect();
    assert_eq!(told, ["link_up", "epoch", "heartbeat", "heartbeat"]);
    let last = wire.health[3].heartbeat.as_ref().expect("a heartbeat");
    assert_eq!((last.sessions, last.interval_us, last.idle_cpu_percent), (Some(12), Some(1_000_000), Some(99.233_333)));
    assert!(wire.health.iter().all(|h| h.check() == Ok(())));
    wire.tick(4900);
    assert_eq!(wire.closed, None);
    wire.tick(5000);
    assert!(matches!(wire.closed, Some(Closing::Silent(_))));
    assert!(wire.sent.iter().filter(|line| line.starts_with("api uuid_exists ")).count() >= 1, "it was pinged");
}

#[test]
fn a_lost_link_is_told_and_what_vanished_meanwhile_is_forgotten() {
    let mut wire = Wire::up(true);
    wire.parked(10, OWN);
    let gone = "11111111-2222-4333-8444-555555555555";
    let other = format!(
        "Unique-ID: {gone}\nCall-Direction: inbound\nvariable_uuid: {gone}\nCaller-Channel-Created-Time: 1795226344000000\n"
    );
    wire.event(20, "CHANNEL_CREATE", &other);
    wire.lose(100);
    assert_eq!(wire.health.last().map(|h| h.event_type.as_str()), Some("link_down"));
    wire.connect(700);
    assert_eq!(wire.health.last().and_then(|h| h.link.as_ref()?.down_us), Some(600_000));
    assert!(wire.sent.last().expect("sent").starts_with("api show channels as json"));
    let asked = wire.commands().len();
    let listing = format!(r#"{{"row_count":1,"rows":[{{"uuid":"{A}","application":"play_and_get_digits"}}]}}"#);
    wire.frame(710, &format!("Content-Type: api/response\nContent-Length: {}\n\n{listing}", listing.len()));
    assert_eq!((wire.node.channels(), wire.node.tally.channels_forgotten), (1, 1));
    assert_eq!(wire.commands().len(), asked + 1, "the caller who is still there is asked again");
}

#[test]
fn a_caller_is_not_given_up_while_the_link_is_away_however_long() {
    let mut wire = Wire::up(true);
    wire.parked(10, OWN);
    wire.lose(100);
    wire.tick(900_000);
    assert_eq!(wire.node.callers(), 1);
    wire.connect(900_100);
    let listing = format!(r#"{{"rows":[{{"uuid":"{A}","application":"park"}}]}}"#);
    wire.frame(900_110, &format!("Content-Type: api/response\nContent-Length: {}\n\n{listing}", listing.len()));
    assert!(wire.commands().last().expect("a command").contains("play_and_get_digits"), "asked again first");
    wire.tick(900_400);
    assert!(
        wire.commands().last().expect("a command").starts_with("api uuid_kill"),
        "and released, for the time in the menu is over"
    );
}

#[test]
fn a_new_core_uuid_ends_the_epoch_and_says_how_many_channels_it_took() {
    let mut wire = Wire::up(true);
    wire.parked(10, OWN);
    wire.lose(100);
    wire.core = "bbbbbbbb-8575-4042-b397-ef41778b2edf";
    wire.connect(500);
    wire.event(600, "HEARTBEAT", "Session-Count: 0\n");
    let epoch =
        wire.health.iter().rev().find(|h| h.event_type == "epoch").and_then(|h| h.epoch.clone()).expect("an epoch");
    assert_eq!((epoch.core_uuid_before.as_deref(), epoch.channels_lost), (Some(CORE), Some(1)));
    assert_eq!((wire.node.channels(), wire.node.callers()), (0, 0));
}

#[test]
fn a_caller_whose_answer_never_comes_is_not_left_in_silence() {
    let mut wire = Wire::up(true);
    wire.parked(10, OWN);
    for s in 1..700 {
        wire.event(s * 1000, "HEARTBEAT", "Session-Count: 1\n");
        wire.frame(s * 1000, "Content-Type: api/response\nContent-Length: 5\n\nfalse");
    }
    assert!(wire.commands().iter().any(|line| line.starts_with(&format!("api uuid_kill {A} "))));
    assert_eq!(wire.node.callers(), 0);
    assert_eq!(wire.decisions.last().map(|d| d.event_type.as_str()), Some("completed"));
}

#[test]
fn noise_from_a_node_is_counted_and_harms_nothing() {
    let mut wire = Wire::up(true);
    wire.frame(1, "Content-Type: text/event-plain\nContent-Length: 5\n\nhello");
    wire.frame(1, "Content-Type: text/event-json\nContent-Length: 2\n\n[]");
    wire.frame(1, "Content-Type: log/data\nContent-Length: 3\n\nabc");
    wire.frame(1, "Content-Type: command/reply\nReply-Text: -ERR nobody asked\n\n");
    wire.event(2, "CHANNEL_PARK", OWN);
    assert_eq!((wire.node.tally.events_unread, wire.closed.clone()), (2, None));
    assert!(wire.commands().is_empty());
}
