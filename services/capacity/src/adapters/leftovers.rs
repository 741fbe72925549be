//! Weights of ours that an earlier run left in the topic: deleted an hour after their end, unless the node is heard of again.
//!
//! Our own weights come back here as well, which is why one table suffices: each record moves its node's date, a tombstone removes it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemas::ControlWeight;
use stream::{Bad, Failure, Handler, Poison, Record, decode};

use crate::adapters::Writer;
use crate::adapters::publish::AUTHOR;

const TOMBSTONE_AFTER_US: i64 = 3_600_000_000;

pub struct Leftovers {
    writer: Writer,
    /// Node → when its record is to be deleted. As many as there are nodes.
    due: BTreeMap<String, i64>,
    /// Before that, a newer record may stand behind an old one.
    read_to_end: bool,
}

impl Leftovers {
    pub fn new(writer: Writer) -> Leftovers {
        Leftovers { writer, due: BTreeMap::new(), read_to_end: false }
    }
}

#[async_trait]
impl Handler for Leftovers {
    async fn handle(&mut self, batch: &[Record]) -> Result<Vec<Poison>, Failure> {
        let mut poison = Vec::new();
        for (index, record) in batch.iter().enumerate() {
            // The key says whose it is: those of others are not ours to read.
            let Some(node) = ours(&record.key) else { continue };
            if record.value.is_none() {
                self.due.remove(node);
                continue;
            }
            match decode::<ControlWeight>(index, record) {
                Ok(weight) => {
                    let end_us = weight.until_us.unwrap_or(weight.made_us);
                    self.due.insert(weight.node_id, end_us.saturating_add(TOMBSTONE_AFTER_US));
                }
                Err(Bad::Poison(p)) => poison.push(p),
                Err(Bad::Wait(error)) => return Err(Failure::Transient(error)),
            }
        }
        Ok(poison)
    }

    fn caught_up(&mut self) {
        self.read_to_end = true;
    }

    async fn tick(&mut self) -> Result<(), Failure> {
        if !self.read_to_end {
            return Ok(());
        }
        let now_us = self.writer.clock.now().wall_us;
        let writer = &self.writer;
        self.due.retain(|node, at_us| {
            let keep = *at_us > now_us;
            if !keep {
                writer.bury(node);
            }
            keep
        });
        Ok(())
    }
}

fn ours(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok()?.strip_suffix(AUTHOR)?.strip_suffix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_keys_are_ours() {
        assert_eq!(ours(b"fs1/capacity"), Some("fs1"));
        assert_eq!(ours(b"fs1/operator"), None);
        assert_eq!(ours(b"fs1-capacity"), None);
    }
}
