//! What each source may ask for: a bucket per source and class of requests, in a table that never grows.
//!
//! A source is an IPv4 address or a network of 64 bits of IPv6; behind a listener that admits by certificate or registrar it is the
//! connection. The table has sets of a few places each; where a source stands
//! follows from a keyed hash, so nobody can choose its neighbours. A source gives up its place only when all its buckets are full
//! again, because then forgetting it changes nothing. Whoever finds its set taken shares one further place with all who do. So an
//! attacker with many addresses can make newcomers share, but frees nobody, least of all itself.

use std::net::IpAddr;

use super::bucket::{Bucket, Rate};
use super::mix::Mixer;

/// What a request costs its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Could not be read.
    Malformed,
    Options,
    Register,
    /// Makes a call.
    Invite,
    /// Belongs to nothing that we know: a wrong cookie, an unknown method.
    Stray,
}

const CLASSES: usize = 5;
const WAYS: usize = 4;
/// 4,096 sets of four and one to share: 20,480 sources at once, under 1 MiB.
const SETS: usize = 4_096;

/// How fast a source may send each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    pub malformed: Rate,
    pub options: Rate,
    pub register: Rate,
    pub invite: Rate,
    pub stray: Rate,
}

impl Rates {
    fn of(&self, class: Class) -> Rate {
        match class {
            Class::Malformed => self.malformed,
            Class::Options => self.options,
            Class::Register => self.register,
            Class::Invite => self.invite,
            Class::Stray => self.stray,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Hash of the source; 0 = nobody.
    key: u64,
    buckets: [Bucket; CLASSES],
}

#[derive(Debug)]
pub struct Meters {
    /// By set; the last of each is the shared one.
    places: Vec<[Place; WAYS + 1]>,
    mixer: Mixer,
    /// Requests that were charged to a shared place.
    pub shared: u64,
}

impl Meters {
    #[must_use]
    pub fn new(mixer: Mixer) -> Meters {
        Meters { places: vec![[Place::default(); WAYS + 1]; SETS], mixer, shared: 0 }
    }

    /// Charges a request; false when it is above its bucket. What is above is charged too: see [`Bucket::take_or_owe`].
    pub fn charge(&mut self, now: u64, source: Source, class: Class, rates: &Rates) -> bool {
        let rate = rates.of(class);
        if !rate.is_limited() {
            return true;
        }
        let hash = self.mixer.hash(source.0);
        let key = hash | 1;
        let set = &mut self.places[(hash >> 48) as usize % SETS];
        let own = set[..WAYS].iter().position(|p| p.key == key);
        let free = |p: &Place| p.key == 0 || p.buckets.iter().all(|b| b.is_full(now));
        let at = own.or_else(|| {
            let at = set[..WAYS].iter().position(free)?;
            set[at] = Place { key, ..Place::default() };
            Some(at)
        });
        let place = match at {
            Some(at) => &mut set[at],
            None => {
                self.shared += 1;
                &mut set[WAYS]
            }
        };
        place.buckets[class as usize].take_or_owe(now, rate)
    }
}

/// Who is charged.
#[derive(Clone, Copy, Debug)]
pub struct Source(u128);

impl Source {
    /// Whoever has one address of an IPv6 network of 64 bits has them all.
    #[must_use]
    pub fn address(ip: IpAddr) -> Source {
        Source(match ip.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
        })
    }

    /// Several trunks may share an address; none pays for another.
    #[must_use]
    pub fn of(self, trunk: usize) -> Source {
        Source(self.0 ^ (trunk as u128) << 96)
    }

    /// A connection by its number: nobody sends from these addresses, they are multicast.
    #[must_use]
    pub fn connection(number: u64) -> Source {
        Source(u128::from(u64::MAX) << 64 | u128::from(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        let rate = Rate::per_second(10.0);
        Rates { malformed: rate, options: rate, register: rate, invite: rate, stray: rate }
    }

    fn meters() -> Meters {
        Meters::new(Mixer::new(3, 4))
    }

    fn v4(n: u32) -> Source {
        Source::address(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn sources_and_classes_do_not_touch_each_other() {
        let (mut m, a, b) = (meters(), v4(1), v4(2));
        let passed = (0..100).filter(|_| m.charge(0, a, Class::Options, &rates())).count();
        assert_eq!(passed, 10);
        assert!(m.charge(0, a, Class::Invite, &rates()) && m.charge(0, b, Class::Options, &rates()));
        let v6 = |text: &str| Source::address(text.parse().unwrap());
        let (one, same, other) = (v6("2001:db8::1"), v6("2001:db8::ffff:1"), v6("2001:db8:0:1::1"));
        assert_eq!((0..20).filter(|_| m.charge(0, one, Class::Options, &rates())).count(), 10);
        assert!(!m.charge(0, same, Class::Options, &rates()), "a network of 64 bits is one source");
        assert!(m.charge(0, other, Class::Options, &rates()));
    }

    #[test]
    fn nobody_gets_a_fresh_bucket_by_filling_the_table() {
        let (mut m, me) = (meters(), v4(7));
        assert_eq!((0..100).filter(|_| m.charge(0, me, Class::Invite, &rates())).count(), 10);
        // A million addresses, each with a request: far more than there are places.
        for i in 0..1_000_000u32 {
            m.charge(1 + u64::from(i) / 10_000, v4(0x0a00_0000 + i), Class::Invite, &rates());
        }
        assert!(m.shared > 900_000, "{} had to share", m.shared);
        assert!(!m.charge(200, me, Class::Invite, &rates()), "still remembered");
        assert!(m.charge(10_000_000, me, Class::Invite, &rates()), "and free when its time has come");
    }

    #[test]
    fn a_place_is_given_away_once_its_buckets_are_full() {
        let mut m = meters();
        for round in 0..50u64 {
            for i in 0..2_000u32 {
                m.charge(round * 2_000_000, v4(i + round as u32 * 2_000), Class::Options, &rates());
            }
        }
        assert!(m.shared < 100, "{} of 100,000 had to share, 2,000 at once", m.shared);
    }
}
