//! Who is still let in: pure. What matters least stops first as the ring fills, so room is left for what matters more; the newest of
//! a class goes, which costs no search.

use schemas::Class;

/// From the first to be shed to the last (DESIGN §6): metrics, health, media detail, then control, and last the life of calls.
pub const SHED_ORDER: [Class; 5] = [Class::Metrics, Class::Health, Class::Detail, Class::Control, Class::Life];

/// Place of a class in [`SHED_ORDER`], which is also its place in every per-class array.
pub fn rank(class: Class) -> usize {
    SHED_ORDER.iter().position(|c| *c == class).unwrap_or(SHED_ORDER.len() - 1)
}

/// How full (in thousandths) ring or spool may be when an event of the class comes. The life of calls is let in until the ring is full:
/// for it the spool's limit is that the forwarder cannot empty the ring any more.
pub fn limit(class: Class) -> u64 {
    match class {
        Class::Metrics => 500,
        Class::Health => 650,
        Class::Detail => 800,
        Class::Control => 920,
        Class::Life => 1000,
    }
}

/// Whether an event of `length` bytes is let into a ring that holds `used` of `capacity`, while the spool is `spool` thousandths full.
pub fn admits(class: Class, used: u64, length: u64, capacity: u64, spool: u64) -> bool {
    if used + length > capacity {
        return false;
    }
    if class == Class::Life {
        return true;
    }
    let limit = limit(class);
    spool < limit && used * 1000 < limit * capacity
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_ring_takes_anything_that_fits_and_a_full_one_nothing() {
        for class in SHED_ORDER {
            assert!(admits(class, 0, 1000, 1000, 0));
            assert!(!admits(class, 0, 1001, 1000, 0));
            assert!(!admits(class, 1000, 1, 1000, 0));
        }
        assert!(admits(Class::Life, 0, 1, 1000, 1000), "only the ring stops the life of calls");
        assert!(!admits(Class::Control, 0, 1, 1000, 920));
    }

    proptest! {
        #[test]
        fn whatever_is_let_in_all_that_matters_more_would_be_too(
            used in 0_u64..2000, length in 1_u64..100, spool in 0_u64..1100
        ) {
            let answers: Vec<bool> = SHED_ORDER.iter().map(|c| admits(*c, used, length, 1000, spool)).collect();
            prop_assert!(answers.is_sorted());
        }
    }
}
