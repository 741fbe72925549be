//! Digits on their way: from the far end into the queue, from there to whoever reads it.
//!
//! As in FreeSWITCH a digit becomes an event when an application reads it, not when it arrives.

use super::bus::Event;
use super::channel::{ChannelId, Digit};
use super::event::{Kind, place};
use super::exec::{App, Running, Step};
use super::node::Node;

impl Node {
    /// Bridges keep digits moving without an application of their own on this leg.
    pub fn bridge_step(&mut self, id: ChannelId) -> Step {
        let Some(channel) = self.channels.get_mut(&id) else { return Step::Waits };
        let Some(digit) = channel.digits.pop_front() else { return Step::Waits };
        let peer = channel.peer.filter(|_| channel.bridged);
        self.say_digit(id, &digit);
        if let Some(peer) = peer {
            self.relay_digit(peer, &digit);
        }
        Step::Again
    }

    pub fn digits_step(&mut self, id: ChannelId) -> Step {
        let Some(channel) = self.channels.get_mut(&id) else { return Step::Waits };
        let listening =
            matches!(channel.stack.last(), Some(Running { kind: App::Digits(collect), .. }) if collect.listens());
        if !listening {
            return Step::Waits;
        }
        let Some(digit) = channel.digits.pop_front() else { return Step::Waits };
        self.say_digit(id, &digit);
        self.collect_digit(id, digit.digit);
        Step::Again
    }

    /// A digit came from the far end. It is an event only when an application reads it.
    pub fn digit(&mut self, id: ChannelId, digit: Digit) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        // As many as FreeSWITCH queues; the caller cannot fill our memory.
        if channel.digits.len() < 100 {
            channel.digits.push_back(digit);
        }
        if let (Some(peer), true) = (channel.peer, channel.bridged && channel.stack.is_empty()) {
            // The bridged far leg has no application: its digits go straight through.
            while let Some(digit) = self.channels.get_mut(&id).and_then(|channel| channel.digits.pop_front()) {
                self.say_digit(id, &digit);
                self.relay_digit(peer, &digit);
            }
        }
        self.ready.push_back(id);
    }

    pub fn say_digit(&mut self, id: ChannelId, digit: &Digit) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.dialed.len() < 256 {
            channel.dialed.push(digit.digit);
        }
        let (text, duration) = (digit.digit.to_string(), digit.duration.to_string());
        self.bus.fire(Event {
            tail: &[("DTMF-Digit", &text), ("DTMF-Duration", &duration), ("DTMF-Source", digit.source)],
            ..Event::of(Kind::Dtmf, place::DTMF, channel)
        });
    }
}
