//! Writes an event as an Avro datum, straight from its fields.
//!
//! apache-avro walks the schema beside the value: for every field it looks up a name, for every option the place of a type in a
//! union. Our events need none of it. A test holds every type against its schema: the same fields in the same order, a union is
//! always `null` and one type, an option in the struct. Then the bytes follow from the value alone, and another test compares them with
//! what apache-avro writes, for every example of every topic (decision 0006 has the figures).
//!
//! Only what events are made of gets through: structs, options, lists, maps of texts, scalars. Anything else is an error.

use std::fmt::Display;

use serde::{
    Serialize, Serializer,
    ser::{self, Impossible, SerializeMap, SerializeSeq, SerializeStruct},
};

/// What an event must not hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl ser::Error for Unfit {
    fn custom<T: Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

fn refused<T>(what: impl Display) -> Result<T, Unfit> {
    Err(Unfit(format!("an event has no {what}")))
}

/// Appends what the event says.
pub(crate) fn write(into: &mut Vec<u8>, event: &impl Serialize) -> Result<(), Unfit> {
    event.serialize(&mut Datum(into))
}

struct Datum<'a>(&'a mut Vec<u8>);

impl Datum<'_> {
    /// Small numbers of either sign are short: zigzag, then seven bits a byte.
    #[inline]
    fn long(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        if rest < 0x80 {
            return self.0.push(rest as u8);
        }
        let mut bytes = [0; 10];
        let mut length = 0;
        while rest >= 0x80 {
            bytes[length] = rest as u8 | 0x80;
            rest >>= 7;
            length += 1;
        }
        bytes[length] = rest as u8;
        self.0.extend_from_slice(&bytes[..=length]);
    }

    #[inline]
    fn bytes(&mut self, value: &[u8]) {
        self.long(value.len() as i64);
        self.0.extend_from_slice(value);
    }
}

macro_rules! longs {
    ($($method:ident($type:ty)),* $(,)?) => {
        $(#[inline]
        fn $method(self, value: $type) -> Result<(), Unfit> {
            self.long(i64::from(value));
            Ok(())
        })*
    };
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*) -> $ok:ty),* $(,)?) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, Unfit> {
            refused(stringify!($method).trim_start_matches("serialize_"))
        })*
    };
}

type Never = Impossible<(), Unfit>;

impl Serializer for &mut Datum<'_> {
    type Ok = ();
    type Error = Unfit;
    type SerializeSeq = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeStructVariant = Never;

    longs! {
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32),
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Unfit> {
        self.0.push(value.into());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Unfit> {
        self.0.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Unfit> {
        self.bytes(value.as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unfit> {
        self.bytes(value);
        Ok(())
    }

    /// `null` stands first in every union.
    #[inline]
    fn serialize_none(self) -> Result<(), Unfit> {
        self.0.push(0);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Unfit> {
        self.0.push(2);
        value.serialize(self)
    }

    /// All entries in one block, and the empty block behind it.
    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Unfit> {
        match length {
            Some(0) => Ok(self),
            Some(length) => {
                self.long(length as i64);
                Ok(self)
            }
            None => refused("list of unknown length"),
        }
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self, Unfit> {
        self.serialize_seq(length)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unfit> {
        Ok(self)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    refuse! {
        serialize_u64(u64) -> (),
        serialize_f32(f32) -> (),
        serialize_char(char) -> (),
        serialize_unit() -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_unit_variant(&'static str, u32, &'static str) -> (),
        serialize_tuple(usize) -> Never,
        serialize_tuple_struct(&'static str, usize) -> Never,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never,
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(self, name: &'static str, _: &T) -> Result<(), Unfit> {
        refused(name)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Unfit> {
        refused(variant)
    }
}

impl SerializeSeq for &mut Datum<'_> {
    type Ok = ();
    type Error = Unfit;

    #[inline]
    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Unfit> {
        value.serialize(&mut **self)
    }

    #[inline]
    fn end(self) -> Result<(), Unfit> {
        self.0.push(0);
        Ok(())
    }
}

impl SerializeMap for &mut Datum<'_> {
    type Ok = ();
    type Error = Unfit;

    #[inline]
    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Unfit> {
        key.serialize(&mut **self)
    }

    #[inline]
    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Unfit> {
        value.serialize(&mut **self)
    }

    #[inline]
    fn end(self) -> Result<(), Unfit> {
        self.0.push(0);
        Ok(())
    }
}

impl SerializeStruct for &mut Datum<'_> {
    type Ok = ();
    type Error = Unfit;

    #[inline]
    fn serialize_field<T: ?Sized + Serialize>(&mut self, _: &'static str, value: &T) -> Result<(), Unfit> {
        value.serialize(&mut **self)
    }

    /// A field left out would move all that follow it.
    fn skip_field(&mut self, key: &'static str) -> Result<(), Unfit> {
        refused(format_args!("skipped fields, but {key} was"))
    }

    #[inline]
    fn end(self) -> Result<(), Unfit> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_those_of_apache_avro() {
        let writer =
            apache_avro::writer::datum::GenericDatumWriter::builder(&apache_avro::Schema::Long).build().unwrap();
        let near = |bit: u32| [-1i64, 0, 1].map(|d| (1i64 << bit).wrapping_add(d));
        for value in (0..64).flat_map(near).flat_map(|v| [v, v.wrapping_neg()]) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            write(&mut ours, &value).unwrap();
            writer.write_ser(&mut theirs, &value).unwrap();
            assert_eq!(ours, theirs, "{value}");
        }
    }

    #[test]
    fn what_no_event_holds_is_an_error() {
        let mut into = Vec::new();
        for unfit in [write(&mut into, &1u64), write(&mut into, &'c'), write(&mut into, &()), write(&mut into, &(1, 2))]
        {
            assert!(unfit.is_err());
        }
        assert!(write(&mut into, &1.0f32).unwrap_err().to_string().contains("f32"));
    }
}
