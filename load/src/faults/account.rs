//! The account at the end: what was accepted, against what arrived and what was declared lost. Pure.
//!
//! * **lost**: noted as accepted, not in the log, not declared: must be 0;
//! * **gap**: a number below one that exists, of the same epoch and partition, that is neither in the log nor declared. It covers what was
//!   accepted and not noted: must be 0;
//! * **wrong**: in the log under a number that was given to another event: must be 0;
//! * **disordered**: seen for the first time behind a higher number of its line: must be 0;
//! * **duplicate**: seen again: allowed and counted;
//! * **false**: declared lost and yet in the log: allowed (a send whose answer was lost) and counted.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::notes::Note;

/// An epoch's partition, whose numbers have no gaps.
type Line = (i64, i32);

#[derive(Default)]
pub struct Seen {
    events: HashMap<(Line, i64), i64>,
    highest: HashMap<Line, i64>,
    /// Newest account of each epoch.
    manifests: BTreeMap<i64, Manifest>,
    pub duplicates: u64,
    wrong: u64,
    disordered: u64,
}

pub struct Manifest {
    pub made_us: i64,
    pub closed: bool,
    /// Partition, first and last number, both included, and how many events of these were lost.
    pub losses: Vec<(i32, i64, i64, i64)>,
    /// Partition and next number.
    pub next: Vec<(i32, i64)>,
}

impl Seen {
    pub fn event(&mut self, found: Note) {
        let line = (found.epoch, found.partition);
        if let Some(first) = self.events.insert((line, found.seq), found.n) {
            self.duplicates += 1;
            self.wrong += u64::from(first != found.n);
            return;
        }
        let highest = self.highest.entry(line).or_insert(-1);
        self.disordered += u64::from(found.seq < *highest);
        *highest = found.seq.max(*highest);
    }

    pub fn manifest(&mut self, epoch: i64, manifest: Manifest) {
        let newest = self.manifests.get(&epoch);
        if newest.is_none_or(|m| (m.made_us, m.closed) <= (manifest.made_us, manifest.closed)) {
            self.manifests.insert(epoch, manifest);
        }
    }

    pub fn has(&self, note: &Note) -> bool {
        self.events.contains_key(&((note.epoch, note.partition), note.seq))
    }

    pub fn count(&self) -> u64 {
        self.events.len() as u64
    }

    pub fn closed_epochs(&self) -> usize {
        self.manifests.values().filter(|m| m.closed).count()
    }

    fn declares(&self, note: &Note) -> bool {
        self.manifests.get(&note.epoch).is_some_and(|manifest| {
            let covers = |(partition, first, last, _): &(i32, i64, i64, i64)| {
                *partition == note.partition && (*first..=*last).contains(&note.seq)
            };
            manifest.losses.iter().any(covers)
        })
    }

    /// How many numbers of a line are neither in the log nor declared, up to the highest that anybody speaks of.
    fn gaps(&self, accepted: &[Note]) -> u64 {
        let mut ends: HashMap<Line, i64> = self.highest.iter().map(|(line, highest)| (*line, highest + 1)).collect();
        let manifest_ends = self.manifests.iter().flat_map(|(e, m)| m.next.iter().map(|(p, next)| ((*e, *p), *next)));
        let noted_ends = accepted.iter().map(|note| ((note.epoch, note.partition), note.seq + 1));
        for (line, end) in manifest_ends.chain(noted_ends) {
            let known = ends.entry(line).or_insert(0);
            *known = end.max(*known);
        }
        let mut gaps = 0;
        for (line, end) in ends {
            for seq in 0..end {
                let missing = !self.events.contains_key(&(line, seq));
                gaps += u64::from(missing && !self.declares(&Note { epoch: line.0, partition: line.1, seq, n: 0 }));
            }
        }
        gaps
    }

    /// Epochs of which something arrived or was noted, and that no manifest closes.
    fn open_epochs(&self, accepted: &[Note]) -> usize {
        let mut epochs: Vec<i64> = accepted.iter().map(|n| n.epoch).chain(self.highest.keys().map(|l| l.0)).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs.iter().filter(|e| self.manifests.get(e).is_none_or(|m| !m.closed)).count()
    }

    pub fn settle(&self, accepted: &[Note]) -> Account {
        let mut account = Account {
            accepted: accepted.len() as u64,
            arrived: self.count(),
            duplicates: self.duplicates,
            wrong: self.wrong,
            disordered: self.disordered,
            gaps: self.gaps(accepted),
            declared: self.manifests.values().flat_map(|m| &m.losses).map(|l| l.3).sum::<i64>().cast_unsigned(),
            open_epochs: self.open_epochs(accepted) as u64,
            ..Account::default()
        };
        for note in accepted {
            match (self.events.get(&((note.epoch, note.partition), note.seq)), self.declares(note)) {
                (Some(n), declared) => {
                    account.wrong += u64::from(*n != note.n);
                    account.falsely_declared += u64::from(declared);
                }
                (None, true) => account.accepted_and_declared += 1,
                (None, false) => {
                    account.lost += 1;
                    if account.examples.len() < 5 {
                        account.examples.push(*note);
                    }
                }
            }
        }
        account
    }
}

#[derive(Debug, Default)]
pub struct Account {
    pub accepted: u64,
    pub arrived: u64,
    pub lost: u64,
    pub gaps: u64,
    pub wrong: u64,
    pub disordered: u64,
    pub duplicates: u64,
    /// Events that the manifests declare lost, noted or not.
    pub declared: u64,
    pub accepted_and_declared: u64,
    pub falsely_declared: u64,
    pub open_epochs: u64,
    pub examples: Vec<Note>,
}

impl Account {
    pub fn balances(&self) -> bool {
        self.lost + self.gaps + self.wrong + self.disordered + self.open_epochs == 0
    }

    pub fn print(&self) {
        println!(
            "  accepted {} events; in the log {}; lost {}, gaps {}, wrong {}, disordered {}; duplicates {}",
            self.accepted, self.arrived, self.lost, self.gaps, self.wrong, self.disordered, self.duplicates
        );
        println!(
            "  declared lost {} ({} of them accepted, {} arrived all the same); epochs without a closing manifest: {}",
            self.declared, self.accepted_and_declared, self.falsely_declared, self.open_epochs
        );
        for note in &self.examples {
            println!("  lost: epoch {} partition {} number {}", note.epoch, note.partition, note.seq);
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "accepted": self.accepted, "arrived": self.arrived, "lost": self.lost, "gaps": self.gaps, "wrong": self.wrong,
            "disordered": self.disordered, "duplicates": self.duplicates, "declared": self.declared,
            "accepted_and_declared": self.accepted_and_declared, "falsely_declared": self.falsely_declared,
            "open_epochs": self.open_epochs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(seq: i64) -> Note {
        Note { epoch: 7, partition: 3, seq, n: seq + 100 }
    }

    fn closed(next: i64, losses: Vec<(i32, i64, i64, i64)>) -> Manifest {
        Manifest { made_us: 1, closed: true, losses, next: vec![(3, next)] }
    }

    #[test]
    fn what_arrived_or_was_declared_balances_and_a_second_copy_is_no_harm() {
        let mut seen = Seen::default();
        for seq in [0, 1, 1, 4] {
            seen.event(note(seq));
        }
        seen.manifest(7, closed(5, vec![(3, 2, 3, 2)]));
        let account = seen.settle(&[note(0), note(1), note(3), note(4)]);
        assert!(account.balances(), "{account:?}");
        assert_eq!((account.duplicates, account.declared, account.accepted_and_declared), (1, 2, 1));
    }

    #[test]
    fn an_accepted_event_that_is_nowhere_is_lost_even_when_it_is_the_last() {
        let mut seen = Seen::default();
        seen.event(note(0));
        seen.manifest(7, closed(1, Vec::new()));
        let account = seen.settle(&[note(0), note(1)]);
        assert_eq!((account.lost, account.gaps, account.examples.as_slice()), (1, 1, [note(1)].as_slice()));
        assert!(!account.balances());
    }

    #[test]
    fn a_number_that_only_the_manifest_knows_is_a_gap() {
        let mut seen = Seen::default();
        seen.event(note(0));
        seen.manifest(7, closed(2, Vec::new()));
        assert_eq!(seen.settle(&[]).gaps, 1);
    }

    #[test]
    fn another_event_under_a_number_and_a_number_out_of_turn_are_found() {
        let mut seen = Seen::default();
        seen.event(note(1));
        seen.event(note(0));
        seen.manifest(7, closed(2, Vec::new()));
        let account = seen.settle(&[Note { n: 5, ..note(0) }]);
        assert_eq!((account.wrong, account.disordered), (1, 1));
    }

    #[test]
    fn an_epoch_that_nobody_closed_does_not_balance() {
        let mut seen = Seen::default();
        seen.event(note(0));
        assert_eq!(seen.settle(&[note(0)]).open_epochs, 1);
        seen.manifest(7, Manifest { closed: false, ..closed(1, Vec::new()) });
        assert!(!seen.settle(&[note(0)]).balances());
        seen.manifest(7, closed(1, Vec::new()));
        assert!(seen.settle(&[note(0)]).balances());
    }
}
