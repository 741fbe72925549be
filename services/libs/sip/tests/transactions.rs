//! The four machines under random orders of events, on both kinds of transport: at most one final goes up or out, every timer
//! ends, and an ended machine wants nothing more.

use proptest::prelude::*;
use sip::transaction::{
    Action, ClientInput, InviteClient, InviteClientState, InviteServer, InviteServerState, NonInviteClient,
    NonInviteServer, ServerInput, Timers,
};

fn timers(is_reliable: bool) -> Timers {
    Timers { is_reliable, ..Timers::STANDARD }
}

fn status() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![100u16, 180, 183, 200, 202, 302, 404, 486, 503, 603])
}

#[derive(Clone, Copy, Debug)]
enum Step<I> {
    Event(I),
    /// The clock goes on to the machine's own deadline.
    Deadline,
    Wait(u64),
}

fn client_steps() -> impl Strategy<Value = Vec<Step<ClientInput>>> {
    let event = prop_oneof![
        6 => status().prop_map(ClientInput::Response),
        1 => Just(ClientInput::Silence),
        1 => Just(ClientInput::TransportError),
        1 => Just(ClientInput::Tick),
    ];
    steps(event)
}

fn server_steps() -> impl Strategy<Value = Vec<Step<ServerInput>>> {
    let event = prop_oneof![
        6 => status().prop_map(ServerInput::Respond),
        3 => Just(ServerInput::Retransmission),
        2 => Just(ServerInput::Ack),
        1 => Just(ServerInput::TransportError),
        1 => Just(ServerInput::Tick),
    ];
    steps(event)
}

fn steps<I: Clone + Copy + std::fmt::Debug>(event: impl Strategy<Value = I>) -> impl Strategy<Value = Vec<Step<I>>> {
    let step = prop_oneof![
        5 => event.prop_map(Step::Event),
        2 => Just(Step::Deadline),
        2 => (0u64..40_000_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..24)
}

/// What one input led to.
struct Seen<I> {
    input: I,
    actions: Vec<Action>,
}

/// Runs the steps, then only the timers until the machine has ended or waits for its owner.
macro_rules! run {
    ($machine:expr, $steps:expr, $tick:expr) => {{
        let (mut now, mut seen) = (0, Vec::new());
        let mut give = |now: u64, input| {
            $machine.handle(now, input);
            let actions: Vec<Action> = std::iter::from_fn(|| $machine.poll()).collect();
            seen.push(Seen { input, actions });
        };
        for step in $steps {
            match step {
                Step::Event(input) => give(now, input),
                Step::Wait(time) => now += time,
                Step::Deadline => {}
            }
            if matches!(step, Step::Deadline | Step::Wait(_)) {
                give(now, $tick);
            }
        }
        (now, seen)
    }};
}

/// Lets the timers run out; a machine that still has one after an hour leaks.
macro_rules! run_out {
    ($machine:expr, $now:expr, $tick:expr) => {{
        let (end, mut turns) = ($now + 3_600_000_000, 0);
        while let Some(at) = $machine.deadline() {
            turns += 1;
            prop_assert!(at < end && turns < 100, "a timer that never ends");
            $machine.handle(at.max($now), $tick);
            while $machine.poll().is_some() {}
        }
    }};
}

fn ends(action: Action) -> bool {
    matches!(action, Action::TimedOut | Action::NoAck | Action::Failed | Action::Done)
}

fn finals(seen: &[Seen<ClientInput>]) -> (usize, usize) {
    let up = |lo: u16, hi: u16| {
        seen.iter()
            .filter(|s| matches!(s.input, ClientInput::Response(c) if (lo..hi).contains(&c)))
            .flat_map(|s| &s.actions)
            .filter(|a| **a == Action::Deliver)
            .count()
    };
    (up(200, 300), up(300, 700))
}

fn sent(seen: &[Seen<ServerInput>]) -> (usize, usize) {
    let out = |lo: u16, hi: u16| {
        seen.iter()
            .filter(|s| matches!(s.input, ServerInput::Respond(c) if (lo..hi).contains(&c)))
            .flat_map(|s| &s.actions)
            .filter(|a| **a == Action::Send)
            .count()
    };
    (out(200, 300), out(300, 700))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_invite_client_delivers_one_failure_or_any_number_of_2xx(reliable in any::<bool>(), steps in client_steps()) {
        let mut machine = InviteClient::new(0, timers(reliable));
        let (now, seen) = run!(machine, steps, ClientInput::Tick);
        let (successes, failures) = finals(&seen);
        prop_assert!(failures <= 1 && (failures == 0 || successes == 0), "{successes} and {failures}");
        prop_assert!(seen.iter().flat_map(|s| &s.actions).filter(|a| ends(**a)).count() <= 1, "it ends once");
        prop_assert!(!reliable || seen.iter().all(|s| !s.actions.contains(&Action::Resend)));
        // Only timer C of the core ends a transaction that rings.
        if machine.state() != InviteClientState::Proceeding {
            run_out!(machine, now, ClientInput::Tick);
            prop_assert_eq!(machine.state(), InviteClientState::Ended);
        }
    }

    #[test]
    fn an_invite_server_sends_one_failure_or_any_number_of_2xx(reliable in any::<bool>(), steps in server_steps()) {
        let mut machine = InviteServer::new(timers(reliable));
        let (now, seen) = run!(machine, steps, ServerInput::Tick);
        let (successes, failures) = sent(&seen);
        prop_assert!(failures <= 1 && (failures == 0 || successes == 0), "{successes} and {failures}");
        let mut accepted = false;
        for s in &seen {
            // RFC 6026: once accepted, repeated INVITEs are absorbed.
            let resends = s.actions.contains(&Action::Resend);
            prop_assert!(!(accepted && resends), "{:?} resends an accepted call", s.input);
            accepted |= matches!(s.input, ServerInput::Respond(200..=299)) && s.actions.contains(&Action::Send);
        }
        if machine.state() != InviteServerState::Proceeding {
            run_out!(machine, now, ServerInput::Tick);
            prop_assert_eq!(machine.state(), InviteServerState::Ended);
        }
    }

    #[test]
    fn a_non_invite_client_delivers_one_final_and_always_ends(reliable in any::<bool>(), steps in client_steps()) {
        let mut machine = NonInviteClient::new(0, timers(reliable));
        let (now, seen) = run!(machine, steps, ClientInput::Tick);
        let (successes, failures) = finals(&seen);
        prop_assert!(successes + failures <= 1);
        prop_assert!(!reliable || seen.iter().all(|s| !s.actions.contains(&Action::Resend)));
        run_out!(machine, now, ClientInput::Tick);
        machine.handle(now, ClientInput::Response(200));
        prop_assert_eq!((machine.poll(), machine.deadline()), (None, None), "an ended machine wants nothing");
    }

    #[test]
    fn a_non_invite_server_sends_one_final(reliable in any::<bool>(), steps in server_steps()) {
        let mut machine = NonInviteServer::new(timers(reliable));
        let (now, seen) = run!(machine, steps, ServerInput::Tick);
        let (successes, failures) = sent(&seen);
        prop_assert!(successes + failures <= 1);
        run_out!(machine, now, ServerInput::Tick);
    }
}
