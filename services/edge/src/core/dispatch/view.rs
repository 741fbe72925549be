//! What a choice sees of a node and what it says: plain numbers, so that every algorithm is a function of them.

/// What is known of a node, the best first. Only [`Evidence::Out`] is hard; a node in any other class is asked when there is
/// none in a better one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    #[default]
    Up,
    /// It says so itself, or it has as many calls as it can hold.
    Full,
    /// It missed two probes, failed more calls than its pool, or came back and must prove itself.
    Suspect,
    /// Its weight was set to zero.
    Weightless,
    /// Down, draining, disabled, or no longer in the settings.
    Out,
}

impl Evidence {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Evidence::Up => "up",
            Evidence::Full => "full",
            Evidence::Suspect => "suspect",
            Evidence::Weightless => "weightless",
            Evidence::Out => "out",
        }
    }
}

/// A member of a pool as the choice sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Hash of its id: what keys are drawn against.
    pub id: u64,
    /// Configured weight × all factors.
    pub weight: f64,
    /// The smallest number is asked first, as in SRV records.
    pub priority: u8,
    pub evidence: Evidence,
    /// Calls on it.
    pub used: u32,
    /// Calls that it can hold; 0 = not known.
    pub capacity: u32,
    /// Smoothed time to its first response (µs); 0 = not known.
    pub latency_us: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// Its place among the views.
    pub at: usize,
    /// The highest wins.
    pub score: f64,
}

/// The winner and those behind it, best first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub chosen: usize,
    top: [Candidate; Choice::TOP],
    len: usize,
}

impl Choice {
    pub const TOP: usize = 3;

    #[must_use]
    pub fn top(&self) -> &[Candidate] {
        &self.top[..self.len]
    }
}

/// The members that a choice is between: not tried, and of the best class that has any.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    pub views: &'a [View],
    tried: &'a [usize],
    class: (Evidence, u8),
    /// Their weights are all the same.
    pub even: bool,
    /// Of their weights.
    pub sum: f64,
    /// There are members of other classes, who would be asked after these.
    has_others: bool,
}

/// The best class while the members are looked through.
struct Best {
    class: (Evidence, u8),
    weight: f64,
    even: bool,
    sum: f64,
    count: u32,
}

impl<'a> Open<'a> {
    /// None when nobody may be asked. What we know of a node comes before its priority: a backup that is up beats a first
    /// choice that is suspect.
    #[must_use]
    pub fn new(views: &'a [View], tried: &'a [usize]) -> Option<Open<'a>> {
        let (mut best, mut has_others) = (None::<Best>, false);
        for (at, view) in views.iter().enumerate() {
            if view.evidence == Evidence::Out || tried.contains(&at) {
                continue;
            }
            let class = (view.evidence, view.priority);
            match &mut best {
                Some(best) if class == best.class => {
                    best.even &= best.weight == view.weight;
                    best.sum += view.weight;
                    best.count += 1;
                }
                Some(best) if class > best.class => has_others = true,
                _ => {
                    has_others |= best.is_some();
                    best = Some(Best { class, weight: view.weight, even: true, sum: view.weight, count: 1 });
                }
            }
        }
        let Best { class, even, sum, count, .. } = best?;
        // Nodes whose weight was taken away share alike.
        let (even, sum) = if class.0 == Evidence::Weightless { (true, f64::from(count)) } else { (even, sum) };
        Some(Open { views, tried, class, even, sum, has_others })
    }

    #[must_use]
    pub fn contains(&self, at: usize) -> bool {
        let view = &self.views[at];
        (view.evidence, view.priority) == self.class && !self.tried.contains(&at)
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a View)> + '_ {
        self.views.iter().enumerate().filter(|(at, _)| self.contains(*at))
    }

    /// What counts as a member's weight.
    #[must_use]
    pub fn weight(&self, view: &View) -> f64 {
        if self.class.0 == Evidence::Weightless { 1.0 } else { view.weight }
    }

    /// How much it can carry beside the others.
    #[must_use]
    pub fn size(&self, view: &View) -> f64 {
        self.weight(view).max(1e-6) * f64::from(view.capacity.max(1))
    }

    /// The member with the highest score, the first of equals from `start` on.
    #[must_use]
    pub fn highest(&self, start: usize, mut score: impl FnMut(usize, &View) -> f64) -> Option<Choice> {
        let mut ranking = Ranking::default();
        let (before, after) = self.views.split_at(start.min(self.views.len()));
        let turned = after.iter().enumerate().map(|(i, v)| (before.len() + i, v)).chain(before.iter().enumerate());
        for (at, view) in turned.filter(|(at, _)| self.contains(*at)) {
            ranking.add(Candidate { at, score: score(at, view) });
        }
        self.closed(ranking)
    }

    /// A ranking of members, filled up with those of the other classes for whoever wants to know the alternatives.
    #[must_use]
    pub fn closed(&self, mut ranking: Ranking) -> Option<Choice> {
        let (chosen, lowest) = (ranking.top().first()?.at, ranking.top().last()?.score);
        if self.has_others && ranking.len < Choice::TOP {
            for (at, view) in self.views.iter().enumerate() {
                if view.evidence != Evidence::Out && !self.tried.contains(&at) && !self.contains(at) {
                    let behind = f64::from(view.evidence as u8) * 256.0 + f64::from(view.priority);
                    ranking.add(Candidate { at, score: lowest - 1.0 - behind });
                }
            }
        }
        Some(Choice { chosen, top: ranking.top, len: ranking.len })
    }
}

/// The best few, kept in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ranking {
    top: [Candidate; Choice::TOP],
    len: usize,
}

impl Ranking {
    pub fn add(&mut self, candidate: Candidate) {
        // From the end on, each that it beats makes room; the last falls out when there is none.
        let mut at = self.len;
        self.len = (at + 1).min(Choice::TOP);
        while at > 0 && candidate.score > self.top[at - 1].score {
            if at < Choice::TOP {
                self.top[at] = self.top[at - 1];
            }
            at -= 1;
        }
        if at < Choice::TOP {
            self.top[at] = candidate;
        }
    }

    /// What a score must exceed to come in; none while there is room.
    #[must_use]
    pub fn floor(&self) -> Option<f64> {
        (self.len == Choice::TOP).then(|| self.top[Choice::TOP - 1].score)
    }

    #[must_use]
    pub fn top(&self) -> &[Candidate] {
        &self.top[..self.len]
    }
}
