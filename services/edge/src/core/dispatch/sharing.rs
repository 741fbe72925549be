//! Which carrier of a route gets a call first, when the route says how much of its calls each carries.

use super::chooser::{Algorithm, Chooser};
use super::view::{Evidence, View};

/// What a route remembers between its calls.
#[derive(Clone, Debug)]
pub struct Sharing {
    chooser: Chooser,
    views: Vec<View>,
}

/// A carrier of the route, as a choice sees it.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub share: u16,
    /// How it stands, 0 is best; none when this call is not for it.
    pub rank: Option<u8>,
}

impl Default for Sharing {
    fn default() -> Sharing {
        Sharing { chooser: Chooser::new(Algorithm::SmoothWeighted, 0), views: Vec::new() }
    }
}

impl Sharing {
    /// In proportion to the shares, among those with the best rank. A share of 0 is a reserve: it comes after all others of its rank.
    pub fn choose(&mut self, members: impl Iterator<Item = Member>) -> Option<usize> {
        let view = |member: Member| View {
            weight: f64::from(member.share),
            // Ranks are few.
            priority: member.rank.unwrap_or_default().saturating_mul(2) + u8::from(member.share == 0),
            evidence: if member.rank.is_some() { Evidence::Up } else { Evidence::Out },
            ..View::default()
        };
        self.views.clear();
        self.views.extend(members.map(view));
        Some(self.chooser.choose(&self.views, &[], 0)?.chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(sharing: &mut Sharing, shares: &[u16], ranks: &[Option<u8>], calls: usize) -> Vec<usize> {
        let mut got = vec![0; shares.len()];
        for _ in 0..calls {
            let members = shares.iter().zip(ranks).map(|(&share, &rank)| Member { share, rank });
            if let Some(at) = sharing.choose(members) {
                got[at] += 1;
            }
        }
        got
    }

    #[test]
    fn each_gets_its_share_and_a_reserve_nothing() {
        let up = [Some(0); 3];
        assert_eq!(counted(&mut Sharing::default(), &[70, 30, 0], &up, 1_000), [700, 300, 0]);
        assert_eq!(counted(&mut Sharing::default(), &[1, 1, 1], &up, 999), [333; 3]);
    }

    #[test]
    fn what_a_bad_one_or_one_of_other_calls_leaves_is_shared_by_the_others() {
        let shares = [50, 30, 20];
        assert_eq!(counted(&mut Sharing::default(), &shares, &[Some(1), Some(0), Some(0)], 1_000), [0, 600, 400]);
        assert_eq!(counted(&mut Sharing::default(), &shares, &[None, Some(0), Some(0)], 1_000), [0, 600, 400]);
        assert_eq!(counted(&mut Sharing::default(), &shares, &[Some(2), Some(1), Some(1)], 1_000), [0, 600, 400]);
        assert_eq!(counted(&mut Sharing::default(), &shares, &[None; 3], 10), [0; 3]);
    }

    #[test]
    fn a_reserve_that_is_up_comes_before_one_that_is_not() {
        assert_eq!(counted(&mut Sharing::default(), &[100, 0], &[Some(1), Some(0)], 10), [0, 10]);
        assert_eq!(counted(&mut Sharing::default(), &[100, 0], &[Some(1), Some(1)], 10), [10, 0]);
        assert_eq!(counted(&mut Sharing::default(), &[100, 0, 0], &[None, Some(0), Some(0)], 10), [0, 10, 0]);
    }

    #[test]
    fn one_that_was_away_gets_its_share_again_and_no_burst() {
        let mut sharing = Sharing::default();
        counted(&mut sharing, &[50, 50], &[Some(0), Some(0)], 101);
        counted(&mut sharing, &[50, 50], &[Some(1), Some(0)], 1_000);
        let back = counted(&mut sharing, &[50, 50], &[Some(0), Some(0)], 100);
        assert!(back[0].abs_diff(50) <= 1, "{back:?}");
    }
}
