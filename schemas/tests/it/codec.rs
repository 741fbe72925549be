//! Framing, the reused buffer, and bytes from strangers.

use proptest::prelude::*;
use schemas::{
    Blob, DeadLetter, DecodeError, Encoder, Event, NodeHealth, SipTransaction, codec::MAX_FRAME_BYTES, decode, topic_of,
};

use crate::kinds::{self, json_files, strict};

fn full_invite() -> SipTransaction {
    let (_, json) =
        json_files("sip.transactions", "examples").into_iter().find(|(n, _)| n == "full-invite.json").unwrap();
    strict(&json["events"][0]).unwrap()
}

#[test]
fn a_frame_is_a_zero_byte_the_schema_id_and_the_datum() {
    let mut encoder = Encoder::new();
    let frame = encoder.encode(&full_invite()).unwrap();
    assert_eq!(frame[0], 0);
    assert_eq!(frame[1..5], SipTransaction::TOPIC.schema_id.to_be_bytes());
    assert_eq!(topic_of(frame).unwrap(), SipTransaction::TOPIC);
}

#[test]
fn a_full_invite_fits_its_budget() {
    let mut encoder = Encoder::new();
    assert!(encoder.encode(&full_invite()).unwrap().len() <= 900);
}

#[test]
fn the_encoder_reuses_its_buffer_and_leaves_nothing_behind() {
    let mut encoder = Encoder::new();
    let full = full_invite();
    let first = encoder.encode(&full).unwrap();
    let (place, long) = (first.as_ptr(), first.to_vec());
    let short = encoder.encode(&SipTransaction::default()).unwrap().to_vec();
    assert!(short.len() < long.len());
    assert_eq!(decode::<SipTransaction>(&short).unwrap(), SipTransaction::default());
    let again = encoder.encode(&full).unwrap();
    assert_eq!((again.as_ptr(), again), (place, &long[..]));
}

#[test]
fn an_unknown_schema_id_is_told_apart_from_garbage() {
    let mut frame = Encoder::new().encode(&full_invite()).unwrap().to_vec();
    frame[1..5].copy_from_slice(&0x5452_fffe_u32.to_be_bytes());
    assert!(matches!(decode::<SipTransaction>(&frame), Err(DecodeError::UnknownSchema(0x5452_fffe))));
    assert!(matches!(decode::<SipTransaction>(b"INVITE sip:"), Err(DecodeError::NotFramed)));
    assert!(matches!(decode::<SipTransaction>(&[]), Err(DecodeError::NotFramed)));
    assert!(matches!(decode::<SipTransaction>(&[0, 0x54, 0x52, 0]), Err(DecodeError::NotFramed)));
}

#[test]
fn a_frame_of_another_topic_is_refused() {
    let frame = Encoder::new().encode(&full_invite()).unwrap().to_vec();
    let error = decode::<NodeHealth>(&frame).unwrap_err();
    assert!(matches!(error, DecodeError::WrongTopic { actual: "sip.transactions", wanted: "node.health", .. }));
}

#[test]
fn every_shortened_and_every_lengthened_frame_is_refused() {
    let frame = Encoder::new().encode(&full_invite()).unwrap().to_vec();
    for end in 0..frame.len() {
        assert!(decode::<SipTransaction>(&frame[..end]).is_err(), "{end} of {} bytes were accepted", frame.len());
    }
    let longer = [&frame[..], &[0]].concat();
    assert!(matches!(decode::<SipTransaction>(&longer), Err(DecodeError::Trailing(1))));
}

#[test]
fn a_frame_longer_than_anything_we_write_is_refused_unread() {
    let letter = DeadLetter { value: Some(Blob(vec![7; MAX_FRAME_BYTES])), ..Default::default() };
    let frame = Encoder::new().encode(&letter).unwrap().to_vec();
    assert!(matches!(decode::<DeadLetter>(&frame), Err(DecodeError::TooLong(n)) if n == frame.len()));
}

#[test]
fn a_text_that_claims_to_be_huge_does_not_get_its_memory() {
    // Envelope: version 0, then a producer id that claims 2^40 bytes.
    let mut frame = vec![0];
    frame.extend(SipTransaction::TOPIC.schema_id.to_be_bytes());
    frame.extend([0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40]);
    assert!(matches!(decode::<SipTransaction>(&frame), Err(DecodeError::Avro(_))));
}

#[test]
fn a_list_that_claims_to_be_endless_ends_with_the_bytes() {
    let mut event = full_invite();
    event.branches.clear();
    event.dialog = None;
    let mut frame = Encoder::new().encode(&event).unwrap().to_vec();
    // The last two bytes are the empty list of branches and the absent dialog.
    assert_eq!(frame.split_off(frame.len() - 2), [0, 0]);
    frame.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    assert!(matches!(decode::<SipTransaction>(&frame), Err(DecodeError::Avro(_))));
}

#[test]
fn any_text_survives() {
    let mut event = full_invite();
    event.identity.from_display = Some("nul \0, line\r\nbreak, \u{feff}bom, \u{202e}rtl, 😀".to_owned());
    let frame = Encoder::new().encode(&event).unwrap().to_vec();
    assert_eq!(decode::<SipTransaction>(&frame).unwrap(), event);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_behind_a_valid_id_never_panics(datum in proptest::collection::vec(any::<u8>(), 0..600), pick in any::<usize>()) {
        let kinds = kinds::all();
        let kind = &kinds[pick % kinds.len()];
        let mut frame = vec![0];
        frame.extend(kind.topic.schema_id.to_be_bytes());
        frame.extend(&datum);
        // Whatever comes out has a frame of its own again.
        if let Ok(json) = (kind.decode)(&frame) {
            prop_assert!((kind.through)(&json).is_ok());
        }
    }

    #[test]
    fn a_valid_frame_with_some_bytes_changed_never_panics(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let mut frame = Encoder::new().encode(&full_invite()).unwrap().to_vec();
        for (at, byte) in changes {
            let at = 5 + at % (frame.len() - 5);
            frame[at] = byte;
        }
        let _ = decode::<SipTransaction>(&frame);
    }
}
