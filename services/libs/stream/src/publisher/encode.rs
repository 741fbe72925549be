//! Encoding without allocation: one encoder per thread and type, one buffer per thread for the frame. No other thread waits for them.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::HashMap,
};

use schemas::{EncodeError, Encoder, Event};

use crate::ring;

/// Encodes an event and shows its bytes.
pub fn encoded<E: Event, R>(event: &E, with: impl FnOnce(&[u8]) -> R) -> Result<R, EncodeError> {
    thread_local! {
        static ENCODERS: RefCell<HashMap<TypeId, Box<dyn Any>>> = RefCell::default();
    }
    ENCODERS.with_borrow_mut(|encoders| {
        let encoder = encoders.entry(TypeId::of::<E>()).or_insert_with(|| Box::new(Encoder::<E>::new()));
        let encoder = encoder.downcast_mut::<Encoder<E>>().expect("stored under its own type");
        encoder.encode(event).map(with)
    })
}

/// A buffer that grew over this is not kept: one large event must not hold memory in every thread.
const KEEP: usize = 64 << 10;

/// Builds a ring frame and shows it.
pub fn framed<R>(
    meta: &ring::Meta,
    key: &[u8],
    value: Option<&[u8]>,
    headers: &[(&str, &[u8])],
    with: impl FnOnce(&[u8]) -> R,
) -> R {
    thread_local! {
        static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    FRAME.with_borrow_mut(|frame| {
        ring::write_frame(frame, meta, key, value, value.is_some(), headers);
        let result = with(frame);
        if frame.capacity() > KEEP {
            *frame = Vec::new();
        }
        result
    })
}
