use super::*;

const S: u64 = 1_000_000;
const START: Now = Now { wall_us: 1_800_000_000_000_000, mono_us: 500 * S };

fn at(s10: u64) -> Now {
    START.plus_us(s10 * S / 10)
}

fn call(n: u8) -> CallId {
    CallId::new(START.wall_us, [n; 10])
}

fn open_on(node: &str, core: Option<&str>, now: Now) -> OpenCall {
    OpenCall {
        started_us: now.wall_us,
        last_fact_us: now.wall_us,
        legs: vec![OpenLeg {
            leg: "l1".into(),
            node: Some(node.into()),
            core_uuid: core.map(Into::into),
            channel: core.is_some(),
            answered: true,
        }],
        challenged_only: false,
        channels_ended: false,
        settling: false,
        reconciled: vec![],
    }
}

fn beat(r: &mut Reconciler, node: &str, core: &str, now: Now) {
    r.handle(
        now,
        Input::Heartbeat { node: node.into(), core_uuid: Some(core.into()), at_us: now.wall_us, every_us: None },
    );
}

/// Beats every second up to `last`, one open call.
fn running(last: u64) -> Reconciler {
    let mut r = Reconciler::new(Limits::default());
    for s in 0..=last {
        beat(&mut r, "fs1", "core-a", at(s * 10));
    }
    r.handle(at(last * 10), Input::Open(call(1), open_on("fs1", Some("core-a"), at(10))));
    r
}

fn verdicts(r: &mut Reconciler, now: Now) -> Vec<Verdict> {
    r.handle(now, Input::Tick { fresh: true });
    std::iter::from_fn(|| r.poll()).collect()
}

#[test]
fn calls_of_a_silent_node_are_closed_once_within_ten_seconds_with_the_interval() {
    let mut r = running(5);
    assert!(verdicts(&mut r, at(79)).is_empty(), "2.9 s of silence are allowed");
    let closed = verdicts(&mut r, at(82));
    assert_eq!(closed.len(), 1);
    assert_eq!((closed[0].kind, closed[0].reason), (Kind::NodeLost, "heartbeat_silence"));
    assert_eq!((closed[0].from_us, closed[0].to_us), (at(50).wall_us, at(82).wall_us));
    assert_eq!(closed[0].legs, vec!["l1".to_owned()]);
    assert!(verdicts(&mut r, at(120)).is_empty(), "said once");
}

#[test]
fn nothing_is_decided_while_the_log_is_still_being_caught_up() {
    let mut r = running(5);
    r.handle(at(900), Input::Tick { fresh: false });
    assert!(r.poll().is_none());
}

#[test]
fn a_lost_link_alone_closes_nothing_while_probes_answer() {
    let mut r = running(5);
    r.handle(at(51), Input::Link { node: "fs1".into(), up: false, at_us: at(51).wall_us });
    for s in 5..30 {
        r.handle(at(s * 10), Input::Probe { node: "fs1".into(), up: true, at_us: at(s * 10).wall_us });
        assert!(verdicts(&mut r, at(s * 10 + 5)).is_empty());
    }
    r.handle(at(300), Input::Probe { node: "fs1".into(), up: false, at_us: at(300).wall_us });
    assert_eq!(verdicts(&mut r, at(301)).len(), 1, "the probes failed too");
}

#[test]
fn a_new_boot_closes_the_calls_of_the_old_one_at_once_and_no_other() {
    let mut r = running(5);
    beat(&mut r, "fs1", "core-b", at(57));
    r.handle(at(57), Input::Open(call(2), open_on("fs1", Some("core-b"), at(57))));
    let closed = verdicts(&mut r, at(58));
    assert_eq!(closed.len(), 1);
    assert_eq!(
        (closed[0].call, closed[0].reason, closed[0].core_uuid.as_deref()),
        (call(1), "new_epoch", Some("core-a"))
    );
    assert_eq!(closed[0].from_us, at(10).wall_us, "the new boot is no proof of life for the old one");
}

#[test]
fn a_late_event_of_the_old_boot_does_not_bring_it_back() {
    let mut r = running(5);
    beat(&mut r, "fs1", "core-b", at(57));
    r.handle(at(58), Input::Channel { node: "fs1".into(), core_uuid: Some("core-a".into()), at_us: at(49).wall_us });
    r.handle(at(58), Input::Open(call(2), open_on("fs1", Some("core-b"), at(57))));
    assert_eq!(verdicts(&mut r, at(59)).iter().map(|v| v.call).collect::<Vec<_>>(), vec![call(1)]);
}

#[test]
fn a_slow_heartbeat_is_not_silence() {
    let mut r = Reconciler::new(Limits::default());
    for s in 0..4 {
        beat(&mut r, "fs1", "core-a", at(s * 50));
    }
    r.handle(at(150), Input::Open(call(1), open_on("fs1", Some("core-a"), at(150))));
    assert!(verdicts(&mut r, at(260)).is_empty(), "11 s after a beat with a period of 5 s");
    assert_eq!(verdicts(&mut r, at(280)).len(), 1);
}

#[test]
fn a_node_that_was_never_heard_is_never_declared_dead() {
    let mut r = Reconciler::new(Limits::default());
    r.handle(at(0), Input::Open(call(1), open_on("quiet", None, at(0))));
    assert!(verdicts(&mut r, at(1000)).is_empty());
}

#[test]
fn a_call_heard_of_just_now_is_left_to_the_edge_that_is_moving_it() {
    let mut r = running(5);
    r.handle(at(81), Input::Open(call(2), open_on("fs1", None, at(81))));
    assert_eq!(verdicts(&mut r, at(82)).iter().map(|v| v.call).collect::<Vec<_>>(), vec![call(1)]);
    assert_eq!(verdicts(&mut r, at(112)).iter().map(|v| v.call).collect::<Vec<_>>(), vec![call(2)]);
}

#[test]
fn orphans_are_closed_after_their_own_time_and_only_when_the_engine_saw_the_end() {
    let mut r = Reconciler::new(Limits::default());
    let mut edge_only = open_on("n", None, at(0));
    edge_only.legs[0].channel = false;
    r.handle(at(0), Input::Open(call(1), edge_only.clone()));
    edge_only.channels_ended = true;
    r.handle(at(0), Input::Open(call(2), edge_only.clone()));
    edge_only.challenged_only = true;
    r.handle(at(0), Input::Open(call(3), edge_only));
    assert!(verdicts(&mut r, at(399)).is_empty());
    assert_eq!(verdicts(&mut r, at(401))[0].reason, "challenge_not_answered");
    let closed = verdicts(&mut r, at(601));
    assert_eq!((closed.len(), closed[0].call, closed[0].reason), (1, call(2), "edge_never_reported"));
    assert!(verdicts(&mut r, at(36_000)).is_empty(), "an answered call without an engine may last");
}

#[test]
fn a_call_whose_bye_was_not_answered_is_lost_when_its_node_is_and_forgotten_when_not() {
    let mut r = running(5);
    let mut over = open_on("fs1", Some("core-a"), at(50));
    over.settling = true;
    r.handle(at(50), Input::Open(call(2), over.clone()));
    r.handle(at(50), Input::Ended(call(1)));
    assert_eq!(verdicts(&mut r, at(82)).iter().map(|v| v.call).collect::<Vec<_>>(), vec![call(2)]);

    let mut alive = running(5);
    alive.handle(at(50), Input::Ended(call(1)));
    alive.handle(at(50), Input::Open(call(2), over));
    for s in 6..60 {
        beat(&mut alive, "fs1", "core-a", at(s * 10));
        assert!(verdicts(&mut alive, at(s * 10)).is_empty());
    }
    assert_eq!(alive.open_calls(), 0, "forgotten without a verdict");
}

#[test]
fn ended_calls_leave_no_trace() {
    let mut r = running(5);
    r.handle(at(51), Input::Ended(call(1)));
    assert_eq!((r.open_calls(), r.by_node.len(), r.by_deadline.len()), (0, 0, 0));
    assert!(verdicts(&mut r, at(900)).is_empty());
}
