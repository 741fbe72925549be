use std::net::Ipv4Addr;

use super::*;

fn free() -> SocketAddrV4 {
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    Socket::bind(any, false).unwrap().address().unwrap()
}

fn plan(rate: f64, hold: Option<Duration>) -> Plan {
    Plan { rates: vec![rate], time: Duration::from_millis(500), hold, counted: true }
}

#[test]
fn calls_without_a_proxy_in_between_all_end_and_leave_a_sample_of_each_message() {
    let node = free();
    let mut fleet = Fleet::new(&[(free(), node)], &[node], false).unwrap();
    fleet.run(&plan(200.0, Some(Duration::from_millis(50))), |_| Ok(())).unwrap();
    fleet.finish(Duration::from_secs(10)).unwrap();
    let tally = fleet.take(0);
    assert!(tally.placed > 50 && tally.ended == tally.placed && tally.answered == tally.placed, "{tally:?}");
    assert_eq!((fleet.busy, fleet.up, tally.resent), (0, 0, 0));
    for (kind, name) in Kind::ALL {
        assert_eq!(tally.samples.of(kind).len() as u64, tally.placed, "{name}");
    }
    let setup = quantile(&tally.setups, 50.0);
    assert!(setup >= RINGS.as_micros() as f64, "{setup} µs");
}

#[test]
fn calls_that_stay_are_up_and_not_under_way() {
    let node = free();
    let mut fleet = Fleet::new(&[(free(), node)], &[node], false).unwrap();
    fleet.run(&plan(200.0, None), |_| Ok(())).unwrap();
    fleet.finish(Duration::from_secs(10)).unwrap();
    let tally = fleet.take(0);
    assert_eq!((fleet.busy, fleet.up, tally.answered), (0, tally.placed, tally.placed));
}

#[test]
fn a_call_that_nobody_hears_is_tried_again_and_times_out() {
    let mut fleet = Fleet::new(&[(free(), free())], &[], false).unwrap();
    fleet.run(&Plan { time: Duration::from_millis(700), ..plan(50.0, Some(RINGS)) }, |_| Ok(())).unwrap();
    fleet.finish(Duration::from_millis(300)).unwrap();
    let tally = fleet.take(0);
    assert!(tally.placed > 0 && tally.timed_out == tally.placed && tally.resent > 0, "{tally:?}");
}
