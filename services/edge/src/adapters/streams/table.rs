//! All connections of the process: found by number and by address, counted in total and by source.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::counters::Counters;
use super::line::Line;
use crate::core::{Flow, Hop};

#[derive(Debug)]
pub struct Table {
    lines: HashMap<Flow, Rc<Line>>,
    by_address: HashMap<(u16, SocketAddr), Flow>,
    sources: HashMap<IpAddr, usize>,
    places: usize,
    /// Of these, the ones that we made: nobody who connects to us can take them from us.
    own: usize,
    next: NonZeroU64,
    limits: Limits,
    counters: Arc<Counters>,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub total: usize,
    pub per_source: usize,
    /// Bytes that may wait for one connection.
    pub line_bytes: usize,
}

impl Table {
    /// `first` is the number of the first connection: above every number of an earlier process.
    #[must_use]
    pub fn new(first: NonZeroU64, limits: Limits, counters: Arc<Counters>) -> Table {
        Table {
            lines: HashMap::new(),
            by_address: HashMap::new(),
            sources: HashMap::new(),
            places: 0,
            own: 0,
            next: first,
            limits,
            counters,
        }
    }

    fn set_places(&mut self, places: usize) {
        self.places = places;
        self.counters.open.store(places as u64, Ordering::Relaxed);
    }

    pub fn flow(&self, flow: Flow) -> Option<&Rc<Line>> {
        self.lines.get(&flow)
    }

    pub fn address(&self, hop: Hop) -> Option<&Rc<Line>> {
        self.lines.get(self.by_address.get(&(hop.listener, hop.addr))?)
    }

    /// A new connection, open or about to be. The newest one at an address is the one that is used.
    pub fn add(&mut self, hop: Hop) -> Rc<Line> {
        let flow = Flow::new(self.next);
        self.next = self.next.saturating_add(1);
        let hop = Hop { flow: Some(flow), ..hop };
        let line = Rc::new(Line::new(flow, hop, self.limits.line_bytes));
        self.lines.insert(flow, Rc::clone(&line));
        self.by_address.insert((hop.listener, hop.addr), flow);
        line
    }

    pub fn remove(&mut self, line: &Line) {
        self.lines.remove(&line.flow);
        let key = (line.hop.listener, line.hop.addr);
        if self.by_address.get(&key) == Some(&line.flow) {
            self.by_address.remove(&key);
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Rc<Line>> {
        self.lines.values()
    }
}

/// A place under the caps, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    table: Rc<RefCell<Table>>,
    source: Option<IpAddr>,
    is_own: bool,
}

impl Place {
    /// For a connection that somebody makes to us.
    pub fn take(table: &Rc<RefCell<Table>>) -> Option<Place> {
        let mut held = table.borrow_mut();
        if held.places - held.own >= held.limits.total {
            return None;
        }
        let places = held.places + 1;
        held.set_places(places);
        Some(Place { table: Rc::clone(table), source: None, is_own: false })
    }

    /// For one that we make: to a peer's address, which there are few of.
    pub fn own(table: &Rc<RefCell<Table>>) -> Option<Place> {
        let mut held = table.borrow_mut();
        if held.own >= held.limits.total {
            return None;
        }
        held.own += 1;
        let places = held.places + 1;
        held.set_places(places);
        Some(Place { table: Rc::clone(table), source: None, is_own: true })
    }

    /// Counts it for its source; false when that has its share already.
    #[must_use]
    pub fn count(&mut self, source: IpAddr) -> bool {
        let source = share(source);
        let mut held = self.table.borrow_mut();
        let most = held.limits.per_source;
        let count = held.sources.entry(source).or_default();
        if *count >= most || self.source.is_some() {
            return self.source == Some(source);
        }
        *count += 1;
        self.source = Some(source);
        true
    }
}

/// Whoever has one IPv6 address has the network of 64 bits around it.
fn share(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.table.borrow_mut();
        let places = held.places - 1;
        held.set_places(places);
        held.own -= usize::from(self.is_own);
        if let Some(source) = self.source
            && let Some(count) = held.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                held.sources.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Rc<RefCell<Table>> {
        let limits = Limits { total: 3, per_source: 2, line_bytes: 100 };
        Rc::new(RefCell::new(Table::new(NonZeroU64::MIN, limits, Arc::default())))
    }

    #[test]
    fn places_are_bounded_in_total_and_by_source_and_come_back() {
        let table = table();
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut held: Vec<Place> = Vec::new();
        for (source, fits) in [(a, true), (a, true), (a, false), (b, true)] {
            let mut place = Place::take(&table).unwrap();
            assert_eq!(place.count(source), fits);
            if fits {
                held.push(place);
            }
        }
        assert!(Place::take(&table).is_none());
        held.push(Place::own(&table).expect("ours are counted apart"));
        held.remove(0);
        assert!(Place::take(&table).unwrap().count(a));
        held.clear();
        assert_eq!((table.borrow().places, table.borrow().sources.len()), (0, 0));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_source() {
        let table = table();
        let mut held: Vec<Place> = Vec::new();
        for (ip, fits) in
            [("2001:db8::1", true), ("2001:db8::2", true), ("2001:db8::3", false), ("2001:db8:0:1::1", true)]
        {
            let mut place = Place::take(&table).unwrap();
            assert_eq!(place.count(ip.parse().unwrap()), fits, "{ip}");
            if fits {
                held.push(place);
            }
        }
    }

    #[test]
    fn the_newest_connection_at_an_address_is_used_and_the_older_one_does_not_take_it_along() {
        let table = table();
        let hop = Hop::to(2, "192.0.2.1:5060".parse().unwrap());
        let mut table = table.borrow_mut();
        let (one, two) = (table.add(hop), table.add(hop));
        assert_eq!(table.address(hop).unwrap().flow, two.flow);
        table.remove(&one);
        assert_eq!(table.address(hop).unwrap().flow, two.flow);
        table.remove(&two);
        assert!(table.address(hop).is_none() && table.flow(two.flow).is_none());
    }
}
