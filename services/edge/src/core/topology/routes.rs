//! Which way a call from a node takes: the longest prefix that the dialled number begins with.

use std::collections::HashMap;
use std::ops::Index;

use crate::config::RouteConfig;
use crate::core::dispatch::Algorithm;

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub prefix: String,
    pub carriers: Vec<Carried>,
}

/// A trunk that carries calls of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    pub trunk: usize,
    /// How much of them, beside what the others carry; none where they are tried in order.
    pub share: Option<u16>,
}

impl Route {
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.carriers.iter().any(|carrier| carrier.share.is_some())
    }

    /// What decides who is tried first, for events.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        if self.is_shared() { Algorithm::SmoothWeighted.as_str() } else { "ordered" }
    }
}

/// A price list has tens of thousands of prefixes: a number is looked up by its beginnings, however many routes there are.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    all: Vec<Route>,
    by_prefix: HashMap<Box<str>, usize>,
    /// The lengths that prefixes have, the greatest first.
    lengths: Vec<usize>,
}

impl Routes {
    #[must_use]
    pub fn new(all: Vec<Route>) -> Routes {
        let mut by_prefix: HashMap<Box<str>, usize> = HashMap::with_capacity(all.len());
        for (place, route) in all.iter().enumerate() {
            by_prefix.entry(RouteConfig::bare(&route.prefix).into()).or_insert(place);
        }
        let mut lengths: Vec<usize> = by_prefix.keys().map(|prefix| prefix.len()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        Routes { all, by_prefix, lengths }
    }

    /// The place of the route for a dialled number.
    #[must_use]
    pub fn of(&self, number: &str) -> Option<usize> {
        let number = RouteConfig::bare(number);
        self.lengths.iter().find_map(|&length| self.by_prefix.get(number.get(..length)?).copied())
    }

    /// The place of a route that is just like this one.
    #[must_use]
    pub fn like(&self, route: &Route) -> Option<usize> {
        self.by_prefix.get(RouteConfig::bare(&route.prefix)).copied().filter(|&place| self.all[place] == *route)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.all.iter()
    }
}

impl Index<usize> for Routes {
    type Output = Route;

    fn index(&self, place: usize) -> &Route {
        &self.all[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(prefixes: &[&str]) -> Routes {
        let route = |prefix: &&str| Route { prefix: (*prefix).to_owned(), carriers: Vec::new() };
        Routes::new(prefixes.iter().map(route).collect())
    }

    #[test]
    fn the_longest_prefix_wins_however_it_and_the_number_are_written() {
        let routes = routes(&["", "+4", "49", "+4930", "00", "sales"]);
        let of = |number| routes.of(number).map(|place| routes[place].prefix.as_str());
        for (number, prefix) in [
            ("+49301", "+4930"),
            ("49301", "+4930"),
            // A plus is no digit.
            ("4989", "49"),
            ("+4989", "49"),
            ("+43", "+4"),
            ("0044", "00"),
            ("sales-1", "sales"),
            ("é", ""),
            ("+", ""),
            ("", ""),
        ] {
            assert_eq!(of(number), Some(prefix), "{number}");
        }
    }

    #[test]
    fn a_number_that_no_prefix_is_for_has_no_route() {
        assert_eq!(routes(&["+49"]).of("+33"), None);
        assert_eq!(routes(&["+49"]).of("4"), None);
        assert_eq!(routes(&[]).of("4"), None);
        assert_eq!(Routes::default().of(""), None);
    }

    #[test]
    fn a_price_list_costs_a_call_no_more_than_one_route() {
        let prefixes: Vec<String> = (0..50_000).map(|n| format!("+{n:05}")).collect();
        let routes = routes(&prefixes.iter().map(String::as_str).collect::<Vec<_>>());
        let started = std::time::Instant::now();
        for n in (0..50_000).cycle().take(100_000) {
            assert_eq!(routes.of(&format!("{n:05}123")), Some(n));
        }
        // Looked through one after the other, they took five seconds.
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    }
}
