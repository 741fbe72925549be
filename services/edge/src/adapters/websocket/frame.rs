//! Frames of a WebSocket (RFC 6455 §5) as a server reads and writes them.
//!
//! Everything that a length or a bit could do to the reader is decided from the first 14 bytes, before one byte of the
//! payload is kept: a client's frame is masked, a length is written in its shortest form and fits what a SIP message may have,
//! a control frame is whole and short, and no extension was agreed on.

use bytes::{BufMut, Bytes, BytesMut};

/// Payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL: usize = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    pub(super) fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

/// What ends the connection, with the code that the close frame carries (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: u16,
    /// One word for counters and the log.
    pub why: &'static str,
}

impl Fault {
    pub(super) const fn protocol(why: &'static str) -> Fault {
        Fault { code: 1002, why }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub is_final: bool,
    pub opcode: Opcode,
    pub mask: [u8; 4],
    /// Bytes of the head itself.
    pub length: usize,
    pub payload: usize,
}

/// The head of the frame at the start of the bytes, once it is complete. `room` is what the message may still have.
pub(super) fn read_head(bytes: &[u8], room: usize) -> Result<Option<Head>, Fault> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Fault::protocol("extension_bit"));
    }
    let opcode = Opcode::of(first & 0x0f).ok_or(Fault::protocol("opcode"))?;
    let is_final = first & 0x80 != 0;
    if second & 0x80 == 0 {
        return Err(Fault::protocol("unmasked"));
    }
    let short = usize::from(second & 0x7f);
    if opcode.is_control() && (!is_final || short > MAX_CONTROL) {
        return Err(Fault::protocol("control_frame"));
    }
    let (at, payload) = match short {
        126 => {
            let Some(&[high, low]) = bytes.get(2..4) else { return Ok(None) };
            (4, u64::from(u16::from_be_bytes([high, low])))
        }
        127 => {
            let Some(long) = bytes.get(2..10).and_then(|long| long.first_chunk::<8>()) else { return Ok(None) };
            (10, u64::from_be_bytes(*long))
        }
        short => (2, short as u64),
    };
    let shortest = match at {
        4 => 126,
        10 => 65_536,
        _ => 0,
    };
    if payload < shortest || payload >> 63 != 0 {
        return Err(Fault::protocol("length"));
    }
    let payload = usize::try_from(payload).unwrap_or(usize::MAX);
    if !opcode.is_control() && payload > room {
        return Err(Fault { code: 1009, why: "too_large" });
    }
    let Some(mask) = bytes.get(at..at + 4).and_then(|mask| mask.first_chunk::<4>()) else { return Ok(None) };
    Ok(Some(Head { is_final, opcode, mask: *mask, length: at + 4, payload }))
}

pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    // At most seven bytes are left, so the mask is needed once more at most.
    for (byte, mask) in rest.iter_mut().skip(4).zip(mask) {
        *byte ^= mask;
    }
}

/// One whole frame of a server: not masked, never in pieces.
pub(super) fn write(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    out.put_u8(0x80 | opcode.bits());
    match payload.len() {
        short @ 0..=125 => out.put_u8(short as u8),
        medium @ 126..=65_535 => {
            out.put_u8(126);
            out.put_u16(medium as u16);
        }
        long => {
            out.put_u8(127);
            out.put_u64(long as u64);
        }
    }
    out.put_slice(payload);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
        read_head(bytes, 1_000)
    }

    fn why(bytes: &[u8]) -> (u16, &'static str) {
        let fault = head(bytes).unwrap_err();
        (fault.code, fault.why)
    }

    #[test]
    fn heads_of_every_length_are_read_and_wait_for_their_last_byte() {
        for (bytes, length, payload) in [
            (&[0x81, 0x85, 1, 2, 3, 4][..], 6, 5),
            (&[0x02, 0xfe, 0x01, 0x00, 1, 2, 3, 4], 8, 256),
            (&[0x80, 0x80, 1, 2, 3, 4], 6, 0),
        ] {
            let read = head(bytes).unwrap().unwrap();
            assert_eq!((read.length, read.payload, read.mask), (length, payload, [1, 2, 3, 4]));
            for cut in 0..bytes.len() {
                assert_eq!(head(&bytes[..cut]), Ok(None), "{cut}");
            }
        }
    }

    #[test]
    fn what_could_deceive_the_reader_is_refused_at_the_head() {
        assert_eq!(why(&[0xc1, 0x85]), (1002, "extension_bit"), "compression was not agreed on");
        assert_eq!(why(&[0x83, 0x85]), (1002, "opcode"));
        assert_eq!(why(&[0x81, 0x05]), (1002, "unmasked"));
        assert_eq!(why(&[0x09, 0x80]), (1002, "control_frame"), "a control frame in pieces");
        assert_eq!(why(&[0x89, 0xfe]), (1002, "control_frame"), "a long control frame");
        assert_eq!(why(&[0x81, 0xfe, 0, 125]), (1002, "length"), "a length that is not in its shortest form");
        assert_eq!(why(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), (1002, "length"));
        assert_eq!(why(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1]), (1002, "length"), "the highest bit");
        assert_eq!(why(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]), (1009, "too_large"));
        assert_eq!(why(&[0x81, 0xfe, 0x03, 0xe9]), (1009, "too_large"), "one byte more than there is room");
    }

    #[test]
    fn masks_come_off_at_every_length() {
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).collect();
            let mut bytes: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ [7, 77, 177, 222][i % 4]).collect();
            unmask(&mut bytes, [7, 77, 177, 222]);
            assert_eq!(bytes, plain);
        }
    }
}
