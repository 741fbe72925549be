//! The bytes of a record: numbers in network order, texts with their length. Reading never trusts a length.

use std::net::{IpAddr, SocketAddr};

use domain::Now;

#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.raw(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Empty and absent are the same.
    pub fn option(&mut self, text: Option<&str>) {
        self.text(text.unwrap_or_default());
    }

    pub fn now(&mut self, now: Now) {
        self.u64(now.wall_us.cast_unsigned());
        self.u64(now.mono_us);
    }

    pub fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => {
                self.u8(4);
                self.raw(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.u8(6);
                self.raw(&ip.octets());
            }
        }
        self.u16(address.port());
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[value]| value)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub fn boxed(&mut self) -> Option<Box<str>> {
        self.text().map(Box::from)
    }

    pub fn option(&mut self) -> Option<Option<String>> {
        self.text().map(|text| (!text.is_empty()).then(|| text.to_owned()))
    }

    pub fn now(&mut self) -> Option<Now> {
        Some(Now { wall_us: self.u64()?.cast_signed(), mono_us: self.u64()? })
    }

    pub fn address(&mut self) -> Option<SocketAddr> {
        let ip = match self.u8()? {
            4 => IpAddr::from(self.array::<4>()?),
            6 => IpAddr::from(self.array::<16>()?),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.u16()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_cut_record_is_not() {
        let mut bytes = Vec::new();
        let mut w = Writer(&mut bytes);
        w.option(None);
        w.text("grüße");
        w.address("[2001:db8::1]:5060".parse().unwrap());
        w.address("192.0.2.1:6".parse().unwrap());
        w.now(Now { wall_us: -5, mono_us: 7 });
        let read = |bytes: &[u8]| {
            let mut r = Reader(bytes);
            Some((r.option()?, r.boxed()?, r.address()?, r.address()?, r.now()?, r.0.len()))
        };
        let (none, text, six, four, now, left) = read(&bytes).unwrap();
        assert_eq!((none, &*text, left), (None, "grüße", 0));
        assert_eq!((six.to_string(), four.to_string()), ("[2001:db8::1]:5060".into(), "192.0.2.1:6".into()));
        assert_eq!(now, Now { wall_us: -5, mono_us: 7 });
        assert!((0..bytes.len()).all(|cut| read(&bytes[..cut]).is_none()));
    }
}
