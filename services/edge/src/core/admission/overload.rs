//! When the edge itself has too much to do: how large a part of the new calls is turned away, so that those that are let in, and
//! everything that belongs to a call already, stay as quick as ever.
//!
//! Two signals. Packets that stand: the shard did not see its sockets empty for [`STANDING_US`]; then the part grows by a tenth ten
//! times a second until it does, and shrinks half as fast. And INVITEs in set-up: from four fifths of their limit on the part grows
//! to all of them. When most packets are no calls at all (a flood that is thrown away anyway) turning calls away would not help,
//! so it is not done.

/// Longer than any burst that a second of normal traffic has.
const STANDING_US: u64 = 100_000;
const STEP_US: u64 = 100_000;
const UP: f64 = 0.1;
const DOWN: f64 = 0.05;

#[derive(Clone, Copy, Debug, Default)]
pub struct Overload {
    /// Of the new calls, 0 to 1.
    standing: f64,
    next_step: u64,
    /// Packets in all and thrown away, when the last step was made.
    packets: u64,
    useless: u64,
    /// Parts of a call that were turned away so far; a whole one is due.
    due: f64,
}

impl Overload {
    /// How long packets have been standing, with the packets since start: all, and those that were thrown away.
    pub fn note(&mut self, now: u64, standing_us: u64, packets: u64, useless: u64) {
        if now < self.next_step {
            return;
        }
        self.next_step = now + STEP_US;
        let (all, waste) = (packets - self.packets, useless - self.useless);
        (self.packets, self.useless) = (packets, useless);
        let calls_do_it = 2 * waste <= all;
        self.standing = if standing_us >= STANDING_US && calls_do_it {
            (self.standing + UP).min(0.9)
        } else {
            (self.standing - DOWN).max(0.0)
        };
    }

    /// Whether a new call is turned away, with so many INVITEs in set-up of at most so many.
    pub fn sheds(&mut self, setting_up: usize, most: usize) -> bool {
        let part = self.part(setting_up, most);
        if part <= 0.0 {
            self.due = 0.0;
            return false;
        }
        self.due += part;
        let sheds = self.due >= 1.0;
        self.due -= f64::from(u8::from(sheds));
        sheds
    }

    #[must_use]
    pub fn part(&self, setting_up: usize, most: usize) -> f64 {
        let full = setting_up as f64 / most.max(1) as f64;
        self.standing.max(((full - 0.8) / 0.2).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(o: &mut Overload, from: u64, steps: u64, standing_us: u64, per_step: (u64, u64)) -> u64 {
        for i in 1..=steps {
            let (packets, useless) = (o.packets + per_step.0, o.useless + per_step.1);
            o.note(from + i * STEP_US, standing_us, packets, useless);
        }
        from + steps * STEP_US
    }

    fn shed_of_a_thousand(o: &mut Overload) -> usize {
        (0..1_000).filter(|_| o.sheds(0, 100)).count()
    }

    #[test]
    fn standing_packets_turn_a_growing_part_away_and_empty_sockets_let_all_in_again() {
        let mut o = Overload::default();
        let now = run(&mut o, 0, 3, 500_000, (1_000, 0));
        assert!((299..=301).contains(&shed_of_a_thousand(&mut o)));
        let now = run(&mut o, now, 20, 500_000, (1_000, 0));
        assert!((899..=901).contains(&shed_of_a_thousand(&mut o)), "never all: nobody would notice when it is over");
        run(&mut o, now, 18, 0, (1_000, 0));
        assert_eq!(shed_of_a_thousand(&mut o), 0);
    }

    #[test]
    fn a_flood_that_is_thrown_away_turns_no_call_away() {
        let mut o = Overload::default();
        run(&mut o, 0, 50, 900_000, (10_000, 9_000));
        assert_eq!(shed_of_a_thousand(&mut o), 0);
    }

    #[test]
    fn a_filling_table_of_invites_turns_more_and_more_away() {
        let mut o = Overload::default();
        let part = |o: &mut Overload, n| (0..100).filter(|_| o.sheds(n, 1_000)).count();
        assert_eq!(part(&mut o, 800), 0);
        assert!((49..=51).contains(&part(&mut o, 900)));
        assert_eq!(part(&mut o, 1_000), 100);
    }
}
