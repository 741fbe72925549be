//! Which publication a record is, without decoding the event.
//!
//! The envelope is the first field of every event and its first five fields say who published what, so a few varints tell; this
//! is what lets a hundred million records be counted in minutes. A schema whose datum begins otherwise is read the long way.

use std::borrow::Cow;

use apache_avro::Schema;
use serde::Deserialize;

use crate::{
    codec::{DecodeError, split_frame},
    envelope::Envelope,
    json::to_json,
    known,
};

/// Producer, epoch, partition and number of one publication; with the topic it is the event's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    pub producer: Cow<'a, str>,
    pub epoch: i64,
    pub partition: i32,
    pub seq: i64,
}

/// Reads the identity of a frame. What comes behind it is not looked at, so the rest may still be damaged.
pub fn identity(frame: &[u8]) -> Result<Identity<'_>, DecodeError> {
    let (id, datum) = split_frame(frame)?;
    let known = known::find(id).ok_or(DecodeError::UnknownSchema(id))?;
    if known.identity_first
        && let Some(identity) = by_hand(datum)
    {
        return Ok(identity);
    }
    let (_, mut event) = to_json(frame)?;
    let envelope = Envelope::deserialize(event["envelope"].take()).expect("every event was decoded with an envelope");
    let Envelope { producer_id, producer_epoch, partition, seq, .. } = envelope;
    Ok(Identity { producer: producer_id.into(), epoch: producer_epoch, partition, seq })
}

/// The fields that are read by hand, as they must stand.
pub(crate) fn stands_first(schema: &Schema) -> bool {
    let Schema::Record(event) = schema else { return false };
    let Some(Schema::Record(envelope)) = event.fields.first().filter(|f| f.name == "envelope").map(|f| &f.schema)
    else {
        return false;
    };
    let wanted = [
        ("schema_version", Schema::Int),
        ("producer_id", Schema::String),
        ("producer_epoch", Schema::Long),
        ("partition", Schema::Int),
        ("seq", Schema::Long),
    ];
    envelope.fields.len() >= wanted.len()
        && envelope.fields.iter().zip(&wanted).all(|(field, (name, kind))| field.name == *name && field.schema == *kind)
}

fn by_hand(mut datum: &[u8]) -> Option<Identity<'_>> {
    let _version = long(&mut datum)?;
    let length = usize::try_from(long(&mut datum)?).ok()?;
    let producer = std::str::from_utf8(datum.split_off(..length)?).ok()?;
    let epoch = long(&mut datum)?;
    let partition = i32::try_from(long(&mut datum)?).ok()?;
    let seq = long(&mut datum)?;
    Some(Identity { producer: Cow::Borrowed(producer), epoch, partition, seq })
}

/// Avro's zig-zag variable-length integer.
fn long(datum: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *datum.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}
