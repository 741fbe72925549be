//! How fast events are cut, indexed and asked; printed by every run, with a floor far below the goal so that a busy machine passes.

use std::time::Instant;

use esl::{Format, Framer, Index, Limits, fields};

use crate::fixtures;

#[test]
fn events_are_read_faster_than_any_switch_makes_them() {
    let event = fixtures::bytes("hangup_complete_media");
    let mut best = 0.0f64;
    let mut asked = 0usize;
    for _ in 0..5 {
        let (mut framer, mut index) = (Framer::new(Limits::default()), Index::new());
        let started = Instant::now();
        let rounds = 4000;
        for _ in 0..rounds {
            framer.push(&event);
            let frame = framer.next().expect("well formed").expect("complete");
            let event = index.read(frame.body(), Format::Plain).expect("an event");
            for name in [
                fields::UNIQUE_ID,
                fields::EVENT_SEQUENCE,
                fields::CHANNEL_CALL_UUID,
                fields::IN_MOS,
                fields::TRUNKLINE_CALL,
            ] {
                asked += event.raw(name).map_or(0, <[u8]>::len);
            }
        }
        best = best.max(f64::from(rounds) / started.elapsed().as_secs_f64());
    }
    assert!(asked > 0);
    eprintln!("esl: {best:.0} events/s of {} bytes on one core (cut, index, five headers)", event.len());
    assert!(best > 10_000.0, "{best:.0} events/s");
}
