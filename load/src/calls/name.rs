//! What a call is called, in its Call-ID too.

/// Which call: its place in the table, and a number that no other call of the run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub slot: u32,
    pub serial: u32,
}

const SUFFIX: &[u8] = b"@load";

impl Name {
    /// From a Call-ID.
    pub fn parse(id: &[u8]) -> Option<Self> {
        let hex = std::str::from_utf8(id.strip_suffix(SUFFIX)?).ok()?;
        let (slot, serial) = hex.split_once('-')?;
        Some(Self { slot: u32::from_str_radix(slot, 16).ok()?, serial: u32::from_str_radix(serial, 16).ok()? })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}@load", self.slot, self.serial)
    }
}
