//! Outbound ESL: the `socket` application and the controller at its other end.
//!
//! The controller owns the channel from its `connect` until one of them goes: the channel's end is told to the controller (at once, or
//! after it has lingered), the controller's end runs the rest of the dialplan (`socket_resume`) or ends the call.

use std::time::{Duration, Instant};

use super::bus::{ConnId, Event};
use super::channel::ChannelId;
use super::encode::Pairs;
use super::esl::Link;
use super::event::{self, Kind, place};
use super::exec::{App, Running};
use super::node::{Node, Timer};
use crate::sip::uri;

impl Node {
    pub fn conn_closed(&mut self, conn: ConnId) {
        let channel = self.conns.get(&conn).and_then(|link| link.channel);
        self.drop_conn(conn);
        let Some(id) = channel else { return };
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.socket != Some(conn) || !channel.is_up() {
            return;
        }
        channel.socket = None;
        if !channel.vars.is_true("socket_resume") {
            channel.plan.clear();
        }
        // What ran under the socket ends, then the socket; the dialplan goes on or the call ends.
        while let Some(top) = self.channels.get(&id).and_then(|channel| channel.stack.last()) {
            let is_socket = matches!(top.kind, App::Socket { .. });
            match &top.kind {
                App::Playback(_) | App::Digits(_) => self.stop_playing(id, "done"),
                App::Bridge(_) => self.leave_bridge(id),
                _ => {}
            }
            self.finish(id);
            if is_socket {
                break;
            }
        }
        self.ready.push_back(id);
    }

    pub fn linger(&mut self, conn: ConnId, rest: &str) {
        let Some(link) = self.conns.get_mut(&conn) else { return };
        if link.channel.is_none() {
            self.reply(conn, "-ERR not controlling a session");
            return;
        }
        let seconds = rest.parse().ok();
        link.linger = Some(seconds.unwrap_or(u64::MAX));
        match seconds {
            Some(seconds) => self.reply(conn, &format!("+OK will linger {seconds} seconds")),
            None => self.reply(conn, "+OK will linger"),
        }
    }

    /// The `socket` application: dial the first host that answers.
    pub fn start_socket(&mut self, id: ChannelId, data: &str) {
        let hosts = data.split_whitespace().next().unwrap_or_default();
        let addresses: Vec<_> = hosts.split('|').filter_map(uri::parse_host_port).collect();
        self.sockets.dial(id, addresses);
    }

    pub fn dialled(&mut self, id: ChannelId, host: &str, link: Option<Link>) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let waiting = matches!(channel.stack.last(), Some(Running { kind: App::Socket { conn: None }, .. }));
        match link {
            Some(link) if waiting && channel.is_up() => {
                let number = link.conn;
                channel.vars.set("socket_host", host.to_owned());
                channel.socket = Some(number);
                if let Some(Running { kind: App::Socket { conn }, .. }) = channel.stack.last_mut() {
                    *conn = Some(number);
                }
                self.add_conn(link, Some(id));
            }
            Some(link) => link.stop.cancel(),
            None if waiting => {
                self.finish(id);
                self.ready.push_back(id);
            }
            None => {}
        }
    }

    /// The first word of an outbound controller: it gets the channel's data, and the channel is parked for it.
    pub fn connect(&mut self, conn: ConnId) {
        let Some(id) = self.conns.get(&conn).and_then(|link| link.channel) else {
            self.reply(conn, "-ERR command not found");
            return;
        };
        let Some(channel) = self.channels.get(&id) else { return };
        let mut pairs = Pairs::default();
        if let Some(profile) = &channel.profile {
            event::profile("Channel-", profile, true, &mut pairs);
        }
        let head: Vec<(&str, &str)> = pairs.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let text = self
            .bus
            .text(Event {
                head: &head,
                tail: &[
                    ("Content-Type", "command/reply"),
                    ("Reply-Text", "+OK\n"),
                    ("Socket-Mode", "async"),
                    ("Control", "full"),
                ],
                ..Event::of(Kind::ChannelData, place::CONNECT, channel)
            })
            .to_owned();
        self.send(conn, &text);
        self.park(id);
        self.ready.push_back(id);
    }

    /// `resume`: the controller lets go, the dialplan goes on when it leaves.
    pub fn resume(&mut self, conn: ConnId) {
        if let Some(channel) =
            self.conns.get(&conn).and_then(|link| link.channel).and_then(|id| self.channels.get_mut(&id))
        {
            channel.vars.set("socket_resume", "true");
        }
        self.reply(conn, "+OK");
    }

    /// The channel is gone: its controller is told, at once or after it has lingered.
    pub fn release_socket(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(conn) = channel.socket.take() else { return };
        let name = channel.name.to_string();
        let Some(link) = self.conns.get_mut(&conn) else { return };
        link.channel = None;
        let uuid = link.uuid.clone().unwrap_or_default();
        match link.linger {
            Some(seconds) => {
                self.bus.listeners.remove(&conn);
                let time = if seconds == u64::MAX { String::new() } else { format!("Linger-Time: {seconds}\n") };
                let text = format!(
                    "Content-Type: text/disconnect-notice\nControlled-Session-UUID: {uuid}\nContent-Disposition: linger\nChannel-Name: {name}\n{time}Content-Length: 0\n\n"
                );
                self.send(conn, &text);
                let seconds = if seconds == u64::MAX { 30 } else { seconds };
                self.timers.arm(Instant::now() + Duration::from_secs(seconds), Timer::Linger { conn });
            }
            None => self.close(conn),
        }
    }

    pub fn linger_over(&mut self, conn: ConnId) {
        if self.conns.contains_key(&conn) {
            self.close(conn);
        }
    }
}
