//! A pool at work: its members as they look now, and the state of its algorithm.
//!
//! *Panic*: when soft evidence would shut more than the pool's share of the nodes that may be asked, the evidence is doubted
//! rather than the nodes, and they are asked as if it were not there. What is hard (down, draining, disabled) stands.

use super::breaker::{Share, median};
use super::view::{Choice, View};
use super::{Chooser, Health, Standing};
use crate::core::topology::{Node, PoolSpec};

#[derive(Debug)]
pub struct Pool {
    chooser: Chooser,
    views: Vec<View>,
    /// Members that were tried for the call at hand.
    tried: Vec<usize>,
    shares: Vec<f64>,
    pub panics: bool,
}

/// The nodes, as the machine keeps them: by their place in the settings.
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'a> {
    pub settings: &'a [Node],
    pub health: &'a [Health],
    pub standing: &'a [Standing],
}

impl Pool {
    #[must_use]
    pub fn new(spec: &PoolSpec, seed: u64) -> Pool {
        Pool {
            chooser: Chooser::new(spec.algorithm, seed),
            views: Vec::new(),
            tried: Vec::new(),
            shares: Vec::new(),
            panics: false,
        }
    }

    /// The same pool under other settings.
    pub fn follow(&mut self, before: &PoolSpec, after: &PoolSpec) {
        let was = |node: &usize| before.members.iter().position(|old| old == node);
        let was: Vec<Option<usize>> = after.members.iter().map(was).collect();
        self.chooser = self.chooser.moved(after.algorithm, &was);
    }

    /// Whether any member may get a call.
    #[must_use]
    pub fn has_any(spec: &PoolSpec, nodes: Nodes<'_>, but: impl Fn(usize) -> bool) -> bool {
        let may = |&n: &usize| !but(n) && !nodes.standing[n].is_out(&nodes.settings[n], &nodes.health[n]);
        spec.members.iter().any(may)
    }

    /// Looks at the members and chooses one; `tried` are places of nodes.
    pub fn choose(
        &mut self,
        now: u64,
        spec: &PoolSpec,
        nodes: Nodes<'_>,
        tried: impl Fn(usize) -> bool,
        key: u64,
    ) -> Option<Choice> {
        self.look(now, spec, nodes);
        self.tried.clear();
        self.tried.extend((0..spec.members.len()).filter(|&at| tried(spec.members[at])));
        self.chooser.choose(&self.views, &self.tried, key)
    }

    fn look(&mut self, now: u64, spec: &PoolSpec, nodes: Nodes<'_>) {
        let (mut present, mut shut) = (0, 0);
        for &n in &spec.members {
            let (node, health, standing) = (&nodes.settings[n], &nodes.health[n], &nodes.standing[n]);
            if !standing.is_out(node, health) {
                present += 1;
                shut += usize::from(standing.is_shut(health));
            }
        }
        self.panics = shut > 0 && shut * 100 > present * usize::from(spec.panic_percent);
        self.views.clear();
        let view = |&n: &usize| nodes.standing[n].view(now, &nodes.settings[n], &nodes.health[n], spec, self.panics);
        self.views.extend(spec.members.iter().map(view));
    }

    /// How a member looked at the last choice.
    #[must_use]
    pub fn view(&self, at: usize) -> &View {
        &self.views[at]
    }

    /// The median share of failed calls among the members that have enough calls to tell.
    pub fn median(&mut self, now: u64, spec: &PoolSpec, nodes: Nodes<'_>) -> Option<f64> {
        self.shares.clear();
        let shares = spec.members.iter().map(|&n| nodes.standing[n].breaker.share(now));
        self.shares.extend(shares.filter(|share| share.tells()).map(Share::ratio));
        median(&mut self.shares)
    }

    pub fn reset(&mut self, spec: &PoolSpec, node: usize) {
        if let Some(at) = spec.members.iter().position(|&n| n == node) {
            self.chooser.reset(at);
        }
    }
}
