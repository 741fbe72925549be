//! The channels of one node that are alive as far as we know, each with its identity.
//!
//! Bounded: a node has a session limit of its own, so reaching [`MAX_CHANNELS`] means that ends are being missed; the channel that
//! was silent longest then makes room. A channel leaves with `CHANNEL_DESTROY`, with a new epoch, or when a snapshot after a lost
//! link no longer lists it.

use std::collections::HashMap;

use domain::Now;
use domain::identity::Keyring;
use esl::{Event, fields as f};
use schemas::{ChannelDtmf, ChannelEvent};

use super::read;
use super::whose::{self, Identity};

/// More channels than any one FreeSWITCH carries.
pub(crate) const MAX_CHANNELS: usize = 50_000;

/// Applications run inside one another (`park` holds what we execute); deeper nesting loses only a duration.
const MAX_NESTED: usize = 8;

#[derive(Debug)]
pub(crate) struct Channel {
    pub identity: Identity,
    /// The call id as it stands in every event.
    pub call_text: String,
    /// Our dialplan marked it as ours to command.
    pub controlled: bool,
    /// Keys are being asked for that nobody may read.
    pub sensitive: bool,
    /// Which connection it was last heard on.
    heard_on: u64,
    heard_at: u64,
    running: Vec<(String, i64)>,
    playing_since: Option<i64>,
}

/// Why an event was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Not about a channel.
    NoChannel,
    /// The first we hear of a channel, and it does not say whose it is.
    Unattributed,
    /// A key that the menu marks as sensitive.
    Sensitive,
    /// No Event-Sequence or Core-UUID: its copies could not be recognised.
    NoSequence,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    channels: HashMap<String, Channel>,
    connection: u64,
}

impl Table {
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    pub fn get(&self, uuid: &str) -> Option<&Channel> {
        self.channels.get(uuid)
    }

    pub fn get_mut(&mut self, uuid: &str) -> Option<&mut Channel> {
        self.channels.get_mut(uuid)
    }

    /// A new connection begins: from now on silence since before it is suspicious.
    pub fn connected(&mut self) {
        self.connection += 1;
    }

    /// Everything is gone with its epoch. Returns how many there were.
    pub fn clear(&mut self) -> usize {
        let lost = self.channels.len();
        self.channels.clear();
        lost
    }

    /// Forgets the channels that were last heard before this connection and that the node no longer lists; returns them. A channel
    /// heard since is kept even when the list lacks it: the list may be older than the event.
    pub fn keep_listed(&mut self, listed: impl Fn(&str) -> bool) -> Vec<String> {
        let connection = self.connection;
        let gone: Vec<String> = self
            .channels
            .iter()
            .filter(|(uuid, channel)| channel.heard_on < connection && !listed(uuid))
            .map(|(uuid, _)| uuid.clone())
            .collect();
        for uuid in &gone {
            self.channels.remove(uuid);
        }
        gone
    }

    /// Takes one event in: whose it is, and what is to be published.
    pub fn take(&mut self, event: &Event<'_>, keys: &Keyring, now: Now) -> Result<ChannelEvent, Skipped> {
        let uuid = event.get(f::UNIQUE_ID).filter(|uuid| !uuid.is_empty()).ok_or(Skipped::NoChannel)?;
        let mut read = read::channel_event(event, now);
        if read.event_sequence <= 0 || read.core_uuid.is_empty() {
            return Err(Skipped::NoSequence);
        }
        if read.event_type == "CHANNEL_UUID"
            && let Some(old) = event.get("Old-Unique-ID")
            && let Some(channel) = self.channels.remove(old.as_ref())
        {
            self.channels.insert(uuid.to_string(), channel);
        }
        self.identify(event, &uuid, keys, now)?;
        let channel = self.channels.get_mut(uuid.as_ref()).expect("identify leaves the channel in the table");
        channel.heard(self.connection, now);
        if event.raw(f::TRUNKLINE_CONTROL) == Some(b"own") {
            channel.controlled = true;
        }
        if channel.sensitive && read.dtmf.is_some() {
            return Err(Skipped::Sensitive);
        }
        channel.fill(&mut read);
        if read.event_type == "CHANNEL_DESTROY" {
            self.channels.remove(uuid.as_ref());
        }
        Ok(read)
    }

    fn identify(&mut self, event: &Event<'_>, uuid: &str, keys: &Keyring, now: Now) -> Result<(), Skipped> {
        match self.channels.get(uuid) {
            // An outgoing channel is announced before it names its call; creation is the moment that counts.
            Some(channel) if !(channel.identity.by_itself && event.name() == "CHANNEL_CREATE") => return Ok(()),
            _ => {}
        }
        let found = whose::resolve(event, keys, |other| self.channels.get(other).map(|channel| channel.identity));
        let identity = match found {
            Some(identity) => identity,
            None if self.channels.contains_key(uuid) => return Ok(()),
            None => return Err(Skipped::Unattributed),
        };
        if let Some(channel) = self.channels.get_mut(uuid) {
            channel.identity = identity;
            channel.call_text = identity.call.to_string();
            return Ok(());
        }
        if self.channels.len() >= MAX_CHANNELS {
            self.make_room();
        }
        self.channels.insert(uuid.to_owned(), Channel::new(identity, self.connection, now));
        Ok(())
    }

    fn make_room(&mut self) {
        let silent_longest =
            self.channels.iter().min_by_key(|(_, channel)| channel.heard_at).map(|(uuid, _)| uuid.clone());
        if let Some(uuid) = silent_longest {
            self.channels.remove(&uuid);
        }
    }
}

impl Channel {
    fn new(identity: Identity, connection: u64, now: Now) -> Self {
        Self {
            call_text: identity.call.to_string(),
            identity,
            controlled: false,
            sensitive: false,
            heard_on: connection,
            heard_at: now.mono_us,
            running: Vec::new(),
            playing_since: None,
        }
    }

    fn heard(&mut self, connection: u64, now: Now) {
        self.heard_on = connection;
        self.heard_at = now.mono_us;
    }

    /// Adds what only the table knows.
    fn fill(&mut self, event: &mut ChannelEvent) {
        event.call_root_id.clone_from(&self.call_text);
        event.leg_id.clone_from(&event.channel.unique_id);
        event.edge_leg_id = self.identity.edge_leg.map(|leg| leg.to_string());
        event.header_state = Some(self.identity.header.as_str().to_owned());
        event.controlled = self.controlled;
        let at = event.event_us;
        let Some(application) = &mut event.application else { return };
        match event.event_type.as_str() {
            "CHANNEL_EXECUTE" => {
                if let Some(uuid) = application.uuid.clone().filter(|_| self.running.len() < MAX_NESTED) {
                    self.running.push((uuid, at));
                }
            }
            "CHANNEL_EXECUTE_COMPLETE" => {
                let place = self.running.iter().rposition(|(uuid, _)| application.uuid.as_ref() == Some(uuid));
                application.duration_us = place.map(|n| (at - self.running.remove(n).1).max(0));
            }
            "PLAYBACK_START" | "RECORD_START" => self.playing_since = Some(at),
            "PLAYBACK_STOP" | "RECORD_STOP" => {
                application.duration_us = self.playing_since.take().map(|since| (at - since).max(0))
            }
            _ => {}
        }
    }
}

/// A key, as far as the menu needs it.
pub(crate) fn key_of(dtmf: &ChannelDtmf) -> Option<char> {
    let mut chars = dtmf.digit.chars();
    match (chars.next(), chars.next()) {
        (Some(key), None) => Some(key),
        _ => None,
    }
}
