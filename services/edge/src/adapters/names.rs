//! Looks up the next hops that are names, beside the calls: each again when its shortest life has passed.
//!
//! A look-up that fails changes nothing but the entry's own account of itself: the last good answer stays, is called stale, and
//! is asked for again after `retry_s`. The whole picture goes to the machine at once, so that a call never sees half of it. Good
//! answers are kept in a file, for a start while no name server answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use domain::Clock;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::dns::Resolver;
use super::dns::wire::{Data, Kind};
use super::names_file::NamesFile;
use crate::config::{DnsConfig, SipName, Transport};
use crate::core::names::rfc3263::{Answer, Known, Naptr, Question, Records, Srv, Step, step};
use crate::core::names::{Entry, Names};
use crate::core::{Peer, Topology};

/// Names looked up at one time: enough for any settings, few enough for one name server.
const AT_ONCE: usize = 16;
/// Rounds of questions for one name: NAPTR, SRV and addresses are three.
const ROUNDS: usize = 6;

/// A name of the settings and what may be done with it.
#[derive(Clone, Debug)]
pub struct Watched {
    pub name: SipName,
    /// What the peer is spoken to by and we have a listener for, the preferred one first.
    pub speaks: Vec<Transport>,
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Watched {
    #[must_use]
    pub fn of(name: SipName, peer: Peer, topology: &Topology) -> Watched {
        let listeners = || topology.listeners.iter().filter(|l| l.side == peer.side());
        let has = |t: &Transport| listeners().any(|l| l.transport == *t);
        Watched {
            name,
            speaks: topology.transports_of(peer).iter().copied().filter(has).collect(),
            ipv4: listeners().any(|l| l.address.is_ipv4()),
            ipv6: listeners().any(|l| l.address.is_ipv6()),
        }
    }
}

pub struct Follower {
    resolver: Resolver,
    settings: DnsConfig,
    /// The newest, also after a reload, and the one that `watched` was made from.
    topology: Arc<ArcSwap<Topology>>,
    known: Option<Arc<Topology>>,
    watched: Vec<Watched>,
    /// An entry for each watched name, in order, and when it is looked up again.
    names: Names,
    due: Vec<Instant>,
    out: watch::Sender<Arc<Names>>,
    file: NamesFile,
    clock: Arc<dyn Clock>,
}

/// How soon a name of other settings is looked up.
const LOOK: Duration = Duration::from_millis(500);

impl Follower {
    /// `names` are those of the start.
    pub fn new(
        resolver: Resolver,
        settings: DnsConfig,
        topology: Arc<ArcSwap<Topology>>,
        names: Names,
        out: watch::Sender<Arc<Names>>,
        file: NamesFile,
        clock: Arc<dyn Clock>,
    ) -> Follower {
        let (watched, due) = (Vec::new(), Vec::new());
        Follower { resolver, settings, topology, known: None, watched, names, due, out, file, clock }
    }

    /// Other settings have other names. What is known of those that stay is kept; it is looked up again at once, since their
    /// transports may be others too.
    fn follow_settings(&mut self) {
        let topology = self.topology.load_full();
        if self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &topology)) {
            return;
        }
        let trunks = topology.trunks.iter().enumerate().filter(|(_, t)| t.gone.is_none());
        let nodes = topology.nodes.iter().enumerate().filter(|(_, n)| n.gone.is_none());
        let trunks = trunks.filter_map(|(i, t)| Some((Peer::Trunk(i), t.name.as_ref()?)));
        let named = trunks.chain(nodes.filter_map(|(i, n)| Some((Peer::Node(i), n.name.as_ref()?))));
        let (mut watched, mut entries) = (Vec::new(), Vec::new());
        for (peer, name) in named {
            let fresh = Entry::new(peer.side(), topology.id_of(peer).to_owned(), name.to_string());
            let same = |e: &&Entry| (e.side, &e.id, &e.name) == (fresh.side, &fresh.id, &fresh.name);
            entries.push(self.names.entries.iter().find(same).cloned().unwrap_or(fresh));
            watched.push(Watched::of(name.clone(), peer, &topology));
        }
        self.due = vec![Instant::now(); watched.len()];
        (self.watched, self.names.entries) = (watched, entries);
        self.known = Some(topology);
        self.out.send_replace(Arc::new(self.names.clone()));
    }

    /// Until shutdown.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>, beat: impl Fn()) {
        tokio::pin!(shutdown);
        loop {
            beat();
            self.follow_settings();
            let look = Instant::now() + LOOK;
            let next = self.due.iter().min().copied().unwrap_or(look).min(look);
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            let due: Vec<usize> =
                self.due.iter().enumerate().filter(|(_, at)| **at <= now).map(|(i, _)| i).take(AT_ONCE).collect();
            if due.is_empty() {
                continue;
            }
            let asked = join_all(due.iter().map(|&i| look_up(&self.resolver, &self.watched[i])));
            let results = tokio::select! {
                biased;
                () = &mut shutdown => return,
                results = asked => results,
            };
            let mut is_news = false;
            for (i, result) in due.into_iter().zip(results) {
                is_news |= self.note(i, result);
            }
            let names = Arc::new(self.names.clone());
            self.out.send_replace(Arc::clone(&names));
            if is_news {
                self.keep(names).await;
            }
        }
    }

    /// A disk that hangs holds up the next look-up and nothing else.
    async fn keep(&self, names: Arc<Names>) {
        let file = self.file.clone();
        let kept = tokio::task::spawn_blocking(move || file.keep(&names)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "the answers of DNS cannot be kept for the next start");
        }
    }

    /// Whether it stands for something else than before.
    fn note(&mut self, i: usize, result: Result<Found, String>) -> bool {
        let entry = &mut self.names.entries[i];
        let was_stale = entry.stale || entry.answered_us.is_none();
        entry.lookups += 1;
        let mut is_news = false;
        let again = match result {
            Ok((targets, ttl)) => {
                if was_stale {
                    tracing::info!(name = entry.name, addresses = targets.len(), "a next hop's name is looked up");
                }
                is_news = entry.targets != targets;
                entry.targets = targets;
                entry.stale = false;
                entry.error = None;
                entry.answered_us = Some(self.clock.now().wall_us);
                ttl.clamp(Duration::from_secs(self.settings.min_ttl_s), Duration::from_secs(self.settings.max_ttl_s))
            }
            Err(error) => {
                if entry.error.is_none() {
                    tracing::warn!(
                        name = entry.name,
                        error,
                        "a next hop's name cannot be looked up: its last answer is kept"
                    );
                }
                entry.failures += 1;
                entry.stale = true;
                entry.error = Some(error);
                Duration::from_secs(self.settings.retry_s)
            }
        };
        self.due[i] = Instant::now() + again;
        is_news
    }
}

type Found = (Vec<crate::core::names::Target>, Duration);

async fn look_up(resolver: &Resolver, watched: &Watched) -> Result<Found, String> {
    let mut known = Known::new();
    for _ in 0..ROUNDS {
        match step(&watched.name, &watched.speaks, &known) {
            // A name that stands for nothing any more is as bad as one that cannot be asked for: the calls go on as before.
            Step::Done { targets, .. } if targets.is_empty() => {
                return Err("no address that we could speak to".to_owned());
            }
            Step::Done { targets, ttl } => return Ok((targets, ttl)),
            Step::Ask(questions) => {
                let answers = join_all(questions.iter().map(|q| ask(resolver, q, watched))).await;
                for (question, answer) in questions.into_iter().zip(answers) {
                    known.insert(question, answer?);
                }
            }
        }
    }
    Err("too many steps from name to address".to_owned())
}

async fn ask(resolver: &Resolver, question: &Question, watched: &Watched) -> Result<Answer, String> {
    match question {
        Question::Naptr(name) => {
            let (found, ttl) = resolver.records(name, Kind::Naptr).await?;
            let naptr = |data| match data {
                Data::Naptr { order, preference, flags, services, replacement } => {
                    Some(Naptr { order, preference, flags, services, replacement })
                }
                _ => None,
            };
            Ok(Answer { records: Records::Naptr(found.into_iter().filter_map(naptr).collect()), ttl })
        }
        Question::Srv(name) => {
            let (found, ttl) = resolver.records(name, Kind::Srv).await?;
            let srv = |data| match data {
                Data::Srv { priority, weight, port, target } => Some(Srv { priority, weight, port, target }),
                _ => None,
            };
            Ok(Answer { records: Records::Srv(found.into_iter().filter_map(srv).collect()), ttl })
        }
        Question::Addresses(name) => {
            let of = async |wanted: bool, kind| match wanted {
                true => resolver.records(name, kind).await,
                false => Ok((Vec::new(), Duration::MAX)),
            };
            let ((v4, ttl), (v6, other_ttl)) =
                tokio::try_join!(of(watched.ipv4, Kind::A), of(watched.ipv6, Kind::Aaaa))?;
            let ip = |data| match data {
                Data::Address(ip) => Some(ip),
                _ => None,
            };
            let all = v4.into_iter().chain(v6).filter_map(ip).collect();
            Ok(Answer { records: Records::Addresses(all), ttl: ttl.min(other_ttl) })
        }
    }
}
