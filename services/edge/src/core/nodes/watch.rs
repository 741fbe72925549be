//! Which nodes are *lost*: gone with their calls, which is more than down. Down means that new calls go elsewhere; it is decided in
//! seconds and costs nothing when it was wrong. Lost ends the story of calls, so it takes evidence that nothing else explains:
//!
//! * a new Core-UUID: that FreeSWITCH is another process now. Calls answered before it started are gone;
//! * or silence to probes and traffic for 30 s while every engine that had a link to it lost that too, as long ago.
//!
//! Never more than 20 % of the nodes at once, at least one: when many seem gone, it is rather our own network. Those beyond wait for
//! their turn. Pure; times are microseconds of the monotonic clock unless they say `wall`.

/// Of silence, of a missing link, and how long a restarted node counts as lost.
pub const PATIENCE_US: u64 = 30_000_000;
/// Engines heard of per node; more are not needed as evidence.
const ENGINES: usize = 16;

/// What an engine says about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is alive in this life, which began then (wall clock), if that is known.
    Life {
        core_uuid: String,
        began_us: Option<i64>,
    },
    Link {
        up: bool,
    },
}

/// Decided: the calls of a node that were answered before `before_us` (wall clock; all, when absent) are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub node: usize,
    pub before_us: Option<i64>,
    pub evidence: String,
}

#[derive(Debug, Default)]
struct Watched {
    core: Option<String>,
    /// Engines by id, and whether their link stands.
    engines: Vec<(String, bool)>,
    link_gone_since: Option<u64>,
    due: Option<Lost>,
    /// When this life's beginning is not known yet, the first report of it is waited for.
    begins: Option<String>,
    lost_until: u64,
    silent: bool,
}

#[derive(Debug)]
pub struct Watch {
    nodes: Vec<Watched>,
    at_most: usize,
}

impl Watch {
    #[must_use]
    pub fn new(nodes: usize) -> Watch {
        Watch { nodes: (0..nodes).map(|_| Watched::default()).collect(), at_most: (nodes / 5).max(1) }
    }

    /// So many nodes from now on.
    pub fn resize(&mut self, nodes: usize) {
        self.nodes.resize_with(nodes, Watched::default);
        self.at_most = (nodes / 5).max(1);
    }

    /// Another node has this place now.
    pub fn forget(&mut self, node: usize) {
        self.nodes[node] = Watched::default();
    }

    /// The life that an earlier life of this edge knew. True when it was not known here.
    pub fn remember(&mut self, node: usize, core_uuid: &str) {
        self.nodes[node].core = Some(core_uuid.to_owned());
    }

    #[must_use]
    pub fn core(&self, node: usize) -> Option<&str> {
        self.nodes[node].core.as_deref()
    }

    /// True when the node is in another life than was known.
    pub fn news(&mut self, now: u64, node: usize, engine: &str, news: News) -> bool {
        let up = !matches!(news, News::Link { up: false });
        let watched = &mut self.nodes[node];
        match watched.engines.iter().position(|(id, _)| id == engine) {
            Some(known) => watched.engines[known].1 = up,
            None if watched.engines.len() < ENGINES => watched.engines.push((engine.to_owned(), up)),
            None => {}
        }
        if watched.engines.iter().any(|&(_, up)| up) {
            watched.link_gone_since = None;
        } else {
            watched.link_gone_since.get_or_insert(now);
        }
        let News::Life { core_uuid, began_us } = news else { return false };
        let is_new = watched.core.as_ref() != Some(&core_uuid);
        if is_new && let Some(before) = watched.core.replace(core_uuid.clone()) {
            watched.begins = Some(format!("Core-UUID {before} is {core_uuid} now"));
        }
        if let (Some(began), Some(evidence)) = (began_us, &watched.begins) {
            watched.due = Some(Lost { node, before_us: Some(began), evidence: evidence.clone() });
            watched.begins = None;
        }
        is_new
    }

    /// Whether a node is lost now, and not only some of its calls.
    #[must_use]
    pub fn is_lost(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|n| n.silent)
    }

    fn counts(&self, now: u64) -> usize {
        self.nodes.iter().filter(|n| n.silent || n.lost_until > now).count()
    }

    /// What is decided now. `quiet_since`: when the node last gave any sign of life by SIP, for nodes that are down.
    pub fn decide(&mut self, now: u64, quiet_since: impl Fn(usize) -> Option<u64>) -> Option<Lost> {
        for node in 0..self.nodes.len() {
            let quiet = quiet_since(node);
            let watched = &mut self.nodes[node];
            let link_gone = watched.link_gone_since;
            if watched.silent && (quiet.is_none() || link_gone.is_none()) {
                watched.silent = false;
            }
            let long = |since: Option<u64>| since.map(|at| now.saturating_sub(at)).filter(|&t| t >= PATIENCE_US);
            if let (Some(quiet), Some(gone), false) = (long(quiet), long(link_gone), watched.silent) {
                let evidence =
                    format!("silent for {} s, engine link down for {} s", quiet / 1_000_000, gone / 1_000_000);
                watched.due = Some(Lost { node, before_us: None, evidence });
            } else if watched.due.as_ref().is_some_and(|due| due.before_us.is_none()) {
                // It spoke before its turn came.
                watched.due = None;
            }
        }
        if self.counts(now) >= self.at_most {
            return None;
        }
        let due = self.nodes.iter_mut().find_map(|n| n.due.take())?;
        let watched = &mut self.nodes[due.node];
        match due.before_us {
            Some(_) => watched.lost_until = now + PATIENCE_US,
            None => watched.silent = true,
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn life(core: &str, began: i64) -> News {
        News::Life { core_uuid: core.into(), began_us: Some(began) }
    }

    #[test]
    fn a_new_core_uuid_loses_the_calls_from_before_it_began_and_the_first_one_none() {
        let mut watch = Watch::new(2);
        assert!(watch.news(0, 0, "e1", life("a", 5)));
        assert!(!watch.news(S, 0, "e1", life("a", 5)));
        assert_eq!(watch.decide(S, |_| None), None);
        // The epoch event does not say when it began; the heartbeat after it does.
        assert!(watch.news(2 * S, 0, "e1", News::Life { core_uuid: "b".into(), began_us: None }));
        assert_eq!(watch.decide(2 * S, |_| None), None);
        watch.news(3 * S, 0, "e2", life("b", 900));
        let lost = watch.decide(3 * S, |_| None).unwrap();
        assert_eq!((lost.node, lost.before_us), (0, Some(900)));
        assert!(lost.evidence.contains('a') && lost.evidence.contains('b'));
        assert_eq!(watch.decide(4 * S, |_| None), None, "once");
        assert!(!watch.is_lost(0), "it is up again");
    }

    #[test]
    fn silence_alone_or_a_missing_link_alone_is_not_enough() {
        let quiet = |_| Some(0);
        let mut watch = Watch::new(2);
        assert_eq!(watch.decide(100 * S, quiet), None, "no engine ever spoke of it");
        watch.news(0, 0, "e1", News::Link { up: true });
        watch.news(0, 0, "e2", News::Link { up: true });
        watch.news(40 * S, 0, "e1", News::Link { up: false });
        assert_eq!(watch.decide(100 * S, quiet), None, "the other engine still has it");
        watch.news(80 * S, 0, "e2", News::Link { up: false });
        assert_eq!(watch.decide(109 * S, quiet), None);
        assert_eq!(watch.decide(110 * S, |_| None), None, "it speaks SIP");
        assert_eq!(watch.decide(111 * S, |_| Some(82 * S)), None);
        assert_eq!(watch.decide(112 * S, |_| Some(82 * S)).unwrap().before_us, None);
        assert!(watch.is_lost(0));
        assert_eq!(watch.decide(113 * S, |_| Some(82 * S)), None);
        watch.decide(114 * S, |_| None);
        assert!(!watch.is_lost(0));
    }

    #[test]
    fn not_more_than_a_fifth_at_once_and_at_least_one() {
        for (nodes, at_once) in [(1, 1), (2, 1), (9, 1), (10, 2)] {
            let mut watch = Watch::new(nodes);
            for node in 0..nodes {
                watch.news(0, node, "e", News::Link { up: false });
            }
            let lost = std::iter::from_fn(|| watch.decide(40 * S, |_| Some(0))).count();
            assert_eq!(lost, at_once, "of {nodes}");
        }
        // Restarts wait for their turn and lose nothing by it.
        let mut watch = Watch::new(3);
        for node in 0..3 {
            watch.news(0, node, "e", life("old", 1));
            watch.news(S, node, "e", life("new", 2));
        }
        let turns: Vec<usize> = (0..100).filter_map(|s| watch.decide(s * S, |_| None)).map(|l| l.node).collect();
        assert_eq!(turns, [0, 1, 2]);
    }
}
