//! A set of numbers kept as ranges: what was seen in order costs one range, however long it is.

use std::{collections::BTreeMap, ops::RangeInclusive};

/// Numbers from 0 on. Numbers mostly come one after the other, so the newest range is kept apart.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    /// First → last; never touching each other.
    ranges: BTreeMap<i64, i64>,
    /// The range that grew last; in none of the others and touching none of them.
    warm: Option<(i64, i64)>,
}

impl Ranges {
    /// False when it was there already.
    pub fn insert(&mut self, number: i64) -> bool {
        if let Some((first, last)) = self.warm {
            if (first..=last).contains(&number) {
                return false;
            }
            // The next range may begin right behind; then the slow way joins them.
            if number == last + 1 && !self.ranges.contains_key(&(number + 1)) {
                self.warm = Some((first, number));
                return true;
            }
        }
        self.settle();
        let before = self.ranges.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| number <= last) {
            self.warm = before;
            self.ranges.remove(&before.map_or(0, |(first, _)| first));
            return false;
        }
        let mut grown = (number, number);
        if let Some((first, last)) = before
            && last + 1 == number
        {
            self.ranges.remove(&first);
            grown.0 = first;
        }
        if let Some(last) = self.ranges.remove(&(number + 1)) {
            grown.1 = last;
        }
        self.warm = Some(grown);
        true
    }

    fn settle(&mut self) {
        if let Some((first, last)) = self.warm.take() {
            self.ranges.insert(first, last);
        }
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        let mut all: Vec<(i64, i64)> =
            self.ranges.iter().map(|(first, last)| (*first, *last)).chain(self.warm).collect();
        if self.warm.is_some() {
            all.sort_unstable();
        }
        all.into_iter()
    }

    pub fn count(&self) -> i64 {
        self.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub fn first(&self) -> Option<i64> {
        self.iter().next().map(|(first, _)| first)
    }

    pub fn last(&self) -> Option<i64> {
        self.iter().last().map(|(_, last)| last)
    }

    /// What of `within` is not in the set, in order.
    pub fn missing(&self, within: RangeInclusive<i64>) -> Vec<(i64, i64)> {
        let (mut from, to) = within.into_inner();
        let mut gaps = Vec::new();
        for (first, last) in self.iter() {
            if last < from {
                continue;
            }
            if first > to {
                break;
            }
            if first > from {
                gaps.push((from, first - 1));
            }
            from = last + 1;
        }
        if from <= to {
            gaps.push((from, to));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_set_of_ranges_is_a_set(numbers in proptest::collection::vec(0_i64..60, 0..120)) {
            let (mut set, mut naive) = (Ranges::default(), BTreeSet::new());
            for number in &numbers {
                prop_assert_eq!(set.insert(*number), naive.insert(*number));
            }
            for number in &numbers {
                prop_assert!(!set.insert(*number));
            }
            let flat: Vec<i64> = set.iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(&flat, &naive.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.count(), naive.len() as i64);
            prop_assert_eq!((set.first(), set.last()), (naive.first().copied(), naive.last().copied()));
            let missing: Vec<i64> = set.missing(5..=50).into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(missing, (5..=50).filter(|n| !naive.contains(n)).collect::<Vec<_>>());
            let touching = set.iter().zip(set.iter().skip(1)).any(|(one, two)| one.1 + 1 >= two.0);
            prop_assert!(!touching);
        }
    }

    #[test]
    fn a_hundred_million_numbers_in_order_are_one_range() {
        let mut set = Ranges::default();
        for number in 0..100_000_000 {
            set.insert(number);
        }
        assert_eq!((set.iter().count(), set.count()), (1, 100_000_000));
    }
}
