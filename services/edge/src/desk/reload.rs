//! Reading the settings again: on SIGHUP and when an operator asks.
//!
//! Parse, validate, swap: a file with a mistake changes nothing, and the answer names every mistake with its line. What only a start
//! can change (sockets, the journal, the name) stays as it is and is named.

use serde::Serialize;

use super::changes::audit;
use super::{Actor, Desk, Refused, Source, State};
use crate::config::Config;

/// What a reload came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Digest of the settings in force now.
    pub digest: String,
    pub at_us: i64,
    /// What is different, as `trunks: + a, - b, ~ c` for people.
    pub changed: Vec<String>,
    /// Settings that take a restart; they stay as they were.
    pub needs_restart: Vec<&'static str>,
}

impl Desk {
    pub async fn reload(&self, actor: &Actor) -> Result<Reloaded, Refused> {
        let source = self.source.load_full();
        let outcome = match source.as_ref() {
            Some(source) => self.reload_from(source).await,
            None => Err(Refused::conflict("this process was not started from a settings file")),
        };
        let now_us = self.clock.now().wall_us;
        self.audit(audit(actor, "reload", "settings", "edge", now_us, outcome.as_ref().err(), None, None));
        match &outcome {
            Ok(done) => {
                tracing::info!(digest = done.digest, changed = ?done.changed, needs_restart = ?done.needs_restart, "the settings were read again");
                self.update_status(|status| (status.reload, status.refused) = (Some(done.clone()), None));
            }
            Err(refused) => {
                tracing::error!(why = refused.why, "the settings were read again and change nothing");
                self.update_status(|status| status.refused = Some(refused.why.clone()));
            }
        }
        outcome
    }

    async fn reload_from(&self, source: &Source) -> Result<Reloaded, Refused> {
        let source = Source::clone(source);
        // Files, and the certificates that they name.
        let read = tokio::task::spawn_blocking(move || source()).await;
        let mut fresh = read
            .map_err(|_| Refused::unavailable("reading the settings failed"))?
            .map_err(|problems| Refused::wrong(problems.to_string()))?;
        let mut state = self.state.lock().await;
        let needs_restart = keep_fixed(&state.config, &mut fresh);
        let problems = fresh.problems();
        if !problems.is_empty() {
            let why = format!(
                "without a restart ({}) this does not fit:\n  {}",
                needs_restart.join(", "),
                problems.join("\n  ")
            );
            return Err(Refused::wrong(why));
        }
        let before = state.config.clone();
        self.swap_file(&mut state, fresh).await?;
        let digest = self.status().digest.clone();
        Ok(Reloaded {
            digest,
            at_us: self.clock.now().wall_us,
            changed: changes(&before, &state.config),
            needs_restart,
        })
    }

    async fn swap_file(&self, state: &mut State, file: Config) -> Result<(), Refused> {
        let merged = state.book.merged(&file);
        super::tell(&[], &merged.left_out);
        self.give_settings(state, merged.config).await?;
        state.file = file;
        self.update_status(|status| (status.replaced, status.left_out) = (merged.replaced, merged.left_out));
        // Limits of rules may be others.
        self.give_control(state, "topic", Vec::new()).await;
        Ok(())
    }
}

/// Sockets and files that are open stay; gives the names of those that the new settings want otherwise.
fn keep_fixed(running: &Config, fresh: &mut Config) -> Vec<&'static str> {
    let mut names = Vec::new();
    macro_rules! keep {
        ($($field:ident),*) => {
            $(if fresh.$field != running.$field {
                fresh.$field.clone_from(&running.$field);
                names.push(concat!("edge.", stringify!($field)));
            })*
        };
    }
    keep!(id, listeners, streams, journal_bytes, receive_buffer_bytes, admin, drain_ms);
    if fresh.limits.decisions != running.limits.decisions {
        fresh.limits.decisions = running.limits.decisions;
        names.push("edge.limits.decisions");
    }
    names
}

fn changes(before: &Config, after: &Config) -> Vec<String> {
    let mut out = Vec::new();
    out.extend(list("trunks", &before.trunks, &after.trunks, |t| &t.id));
    out.extend(list("nodes", &before.nodes, &after.nodes, |n| &n.id));
    out.extend(list("numbers", &before.numbers, &after.numbers, |n| &n.number));
    out.extend(list("routes", &before.routes, &after.routes, |r| r.id()));
    let bare = |config: &Config| Config {
        trunks: Vec::new(),
        nodes: Vec::new(),
        numbers: Vec::new(),
        routes: Vec::new(),
        ..config.clone()
    };
    if let (Ok(serde_json::Value::Object(old)), Ok(serde_json::Value::Object(new))) =
        (serde_json::to_value(bare(before)), serde_json::to_value(bare(after)))
    {
        let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
        out.extend(names.filter(|name| old.get(*name) != new.get(*name)).cloned());
    }
    out
}

/// Numbers of customers are only counted.
fn list<T: PartialEq>(name: &str, before: &[T], after: &[T], id: impl Fn(&T) -> &str) -> Option<String> {
    let find = |list: &[T], wanted: &str| list.iter().position(|t| id(t) == wanted);
    let mut words = Vec::new();
    words.extend(after.iter().filter(|t| find(before, id(t)).is_none()).map(|t| format!("+ {}", id(t))));
    words.extend(before.iter().filter(|t| find(after, id(t)).is_none()).map(|t| format!("- {}", id(t))));
    let is_other = |t: &&T| find(before, id(t)).is_some_and(|at| before[at] != **t);
    words.extend(after.iter().filter(is_other).map(|t| format!("~ {}", id(t))));
    if words.is_empty() {
        return None;
    }
    if name == "numbers" || words.len() > 20 {
        return Some(format!("{name}: {} changes", words.len()));
    }
    Some(format!("{name}: {}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeConfig, TrunkConfig};

    #[test]
    fn what_only_a_start_can_change_stays_and_the_rest_is_named() {
        let trunk = |id: &str, cps: f64| TrunkConfig { id: id.into(), cps, ..TrunkConfig::default() };
        let running = Config { trunks: vec![trunk("a", 1.0), trunk("b", 1.0)], ..Config::default() };
        let mut fresh = Config { trunks: vec![trunk("b", 2.0), trunk("c", 1.0)], ..Config::default() };
        fresh.nodes.push(NodeConfig { id: "n".into(), ..NodeConfig::default() });
        fresh.listeners[0].bind.set_port(5_099);
        fresh.journal_bytes = 0;
        fresh.timers.t1_ms = 400;
        assert_eq!(keep_fixed(&running, &mut fresh), ["edge.listeners", "edge.journal_bytes"]);
        assert_eq!((fresh.listeners.clone(), fresh.journal_bytes), (running.listeners.clone(), running.journal_bytes));
        assert_eq!(changes(&running, &fresh), ["trunks: + c, - a, ~ b", "nodes: + n", "timers"]);
        assert!(changes(&running, &running).is_empty());
    }
}
