//! Which node gets the next call: smooth weighted round robin over the nodes that may take one.
//!
//! Every eligible node gains its weight, the richest is chosen and pays the sum of all. Shares are exact over a round and
//! never come in bursts. Hard evidence (state) comes first, soft evidence (a factor of zero) never removes the last node:
//! up with weight, then suspect with weight, then whatever is not down and not taken out by an operator.

use super::topology::Topology;

/// A node as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Configured weight × factor.
    pub weight: f64,
    pub tier: Tier,
    pub calls: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Up, with weight.
    Up,
    /// Suspect, with weight.
    Suspect,
    /// Not down, but its factor is zero.
    Weightless,
    /// Down, draining, disabled, or of another pool.
    Out,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub node: usize,
    pub score: f64,
    pub weight: f64,
    pub tier: Tier,
    pub calls: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Balancer {
    credit: Vec<f64>,
}

impl Balancer {
    #[must_use]
    pub fn new(topology: &Topology) -> Balancer {
        Balancer { credit: vec![0.0; topology.nodes.len()] }
    }

    /// Chooses among `views` (one per node), leaving out `tried`. `top` receives the three best candidates, best first.
    pub fn choose(&mut self, views: &[View], tried: &[usize], top: &mut Vec<Candidate>) -> Option<usize> {
        top.clear();
        let open = |i: &usize| views[*i].tier != Tier::Out && !tried.contains(i);
        let best_tier = (0..views.len()).filter(open).map(|i| views[i].tier).min()?;
        let weight = |i: usize| if best_tier == Tier::Weightless { 1.0 } else { views[i].weight };
        let mut sum = 0.0;
        let mut chosen: Option<usize> = None;
        for i in (0..views.len()).filter(|i| open(i) && views[*i].tier == best_tier) {
            self.credit[i] += weight(i);
            sum += weight(i);
            if chosen.is_none_or(|c| self.credit[i] > self.credit[c]) {
                chosen = Some(i);
            }
        }
        for (i, view) in views.iter().enumerate().filter(|(i, _)| open(i)) {
            let score = if view.tier == best_tier { self.credit[i] } else { -f64::from(view.tier as u8) };
            let candidate = Candidate { node: i, score, weight: view.weight, tier: view.tier, calls: view.calls };
            let at = top.partition_point(|c| Some(c.node) == chosen || (c.score >= score && Some(i) != chosen));
            if at < 3 {
                top.insert(at, candidate);
                top.truncate(3);
            }
        }
        let chosen = chosen?;
        self.credit[chosen] -= sum;
        Some(chosen)
    }

    /// A node that comes back starts without debt and without savings.
    pub fn reset(&mut self, node: usize) {
        if let Some(credit) = self.credit.get_mut(node) {
            *credit = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(weight: f64, tier: Tier) -> View {
        View { weight, tier, calls: 0 }
    }

    fn balancer(n: usize) -> Balancer {
        Balancer { credit: vec![0.0; n] }
    }

    #[test]
    fn shares_follow_the_weights_exactly_and_without_bursts() {
        let views = [view(5.0, Tier::Up), view(3.0, Tier::Up), view(2.0, Tier::Up)];
        let (mut b, mut top, mut counts) = (balancer(3), Vec::new(), [0; 3]);
        let mut run = 0;
        let mut last = None;
        for _ in 0..10_000 {
            let c = b.choose(&views, &[], &mut top).unwrap();
            assert_eq!(top[0].node, c);
            counts[c] += 1;
            run = if last == Some(c) { run + 1 } else { 1 };
            last = Some(c);
            assert!(run <= 2);
        }
        assert_eq!(counts, [5_000, 3_000, 2_000]);
    }

    #[test]
    fn tiers_are_left_only_when_they_are_empty() {
        let mut top = Vec::new();
        let mut b = balancer(4);
        let mut views =
            [view(1.0, Tier::Up), view(1.0, Tier::Suspect), view(0.0, Tier::Weightless), view(1.0, Tier::Out)];
        assert_eq!(b.choose(&views, &[], &mut top), Some(0));
        assert_eq!(top.iter().map(|c| c.node).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(b.choose(&views, &[0], &mut top), Some(1));
        views[0].tier = Tier::Out;
        views[1].tier = Tier::Out;
        assert_eq!(b.choose(&views, &[], &mut top), Some(2), "soft evidence never removes the last node");
        views[2].tier = Tier::Out;
        assert_eq!(b.choose(&views, &[], &mut top), None);
    }
}
