//! The end of a channel: applications unwind, the far end is told, the books are written, the channel is gone.
//!
//! [`Node::hangup`] only decides and says CHANNEL_HANGUP; everything else happens when the channel is worked on next, as in FreeSWITCH,
//! where the session's own thread does it.

use super::bus::Event;
use super::channel::{CallState, ChannelId, Role, State};
use super::event::{Kind, place};
use super::exec::App;
use super::node::Node;

impl Node {
    /// Decides that the channel ends with this cause. The first cause stays.
    pub fn hangup(&mut self, id: ChannelId, cause: &'static str) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if !channel.is_up() {
            return;
        }
        channel.cause = Some(cause);
        channel.next_state = State::Hangup;
        self.bus.fire(Event::of(Kind::ChannelHangup, place::HANGUP, channel));
        self.ready.push_back(id);
    }

    /// Ends every channel that `wanted` says; returns how many.
    pub fn hangup_where(&mut self, cause: &'static str, wanted: impl Fn(&super::channel::Channel) -> bool) -> usize {
        let mut ids: Vec<ChannelId> =
            self.channels.values().filter(|channel| wanted(channel)).map(|channel| channel.id).collect();
        ids.sort_unstable();
        for id in &ids {
            self.hangup(*id, cause);
        }
        ids.len()
    }

    /// Everything from CHANNEL_HANGUP to the end. Does nothing for a channel that is up.
    pub fn unwind(&mut self, id: ChannelId) {
        if !self.channels.contains_key(&id) || self.is_up(id) {
            return;
        }
        self.unwind_applications(id);
        // The other leg hears of it while this one still exists: it reads cause and status from here.
        let caller = self.channels.get(&id).and_then(|channel| channel.peer.filter(|_| channel.role != Role::Caller));
        self.enter_end(id, State::Hangup);
        self.end_dialog(id);
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.bridged
            && channel.role != Role::Caller
        {
            let cause = channel.cause.unwrap_or_default();
            channel.vars.set("bridge_hangup_cause", cause);
        }
        self.enter_end(id, State::Reporting);
        if let Some(caller) = caller {
            self.far_leg_ended(caller, id);
        }
        self.originate_failed(id);
        self.report(id);
        self.complete(id);
    }

    fn unwind_applications(&mut self, id: ChannelId) {
        while let Some(top) = self.channels.get(&id).and_then(|channel| channel.stack.last()) {
            match &top.kind {
                App::Playback(_) => self.stop_playing(id, "done"),
                App::Digits(_) => {
                    self.stop_playing(id, "done");
                    if let Some(channel) = self.channels.get_mut(&id) {
                        channel.vars.set("read_result", "failure");
                    }
                }
                App::Bridge(_) => self.leave_bridge(id),
                App::Park | App::Socket { .. } | App::Echo => self.drop_commands(id),
                App::Sleep | App::Instant => {}
            }
            self.finish(id);
        }
    }

    /// Commands that came too late are announced and forgotten, then the channel is no longer parked.
    fn drop_commands(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        for command in std::mem::take(&mut channel.commands) {
            if let Some(uuid) = command.get("Event-UUID")
                && let Some(channel) = self.channels.get_mut(&id)
            {
                channel.vars.set("app_uuid", uuid.to_owned());
            }
            self.private_command(id, &command);
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let parked = match channel.stack.last().map(|running| &running.kind) {
            Some(App::Park) => true,
            Some(App::Socket { conn }) => conn.is_some() || channel.socket.is_some(),
            _ => false,
        };
        if parked {
            self.fire(id, Kind::ChannelUnpark, place::UNPARK);
        }
    }

    /// As `enter`; the call state follows the hangup.
    fn enter_end(&mut self, id: ChannelId, state: State) {
        let now = self.wall_us();
        self.enter(id, state);
        if state == State::Hangup {
            if let Some(profile) = self.channels.get_mut(&id).and_then(|channel| channel.profile.as_mut()) {
                profile.times.hangup = now;
            }
            self.call_state(id, CallState::Hangup);
        }
    }

    fn complete(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let cause = channel.cause.unwrap_or_default();
        if channel.bridged && channel.role != Role::Caller {
            let own = channel.uuid.to_string();
            channel.call_uuid = own.as_str().into();
            channel.vars.set("call_uuid", own);
        }
        self.bus.fire(Event {
            tail: &[("Hangup-Cause", cause)],
            ..Event::of(Kind::ChannelHangupComplete, place::HANGUP_COMPLETE, channel)
        });
        self.release_socket(id);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.next_state = State::Destroy;
        self.fire(id, Kind::ChannelDestroy, place::DESTROY);
        self.enter(id, State::Destroy);
        self.schedule.forget(id);
        self.remove(id);
    }

    /// Ends what runs and goes through the dialplan again.
    pub fn carry_out_transfer(&mut self, id: ChannelId) {
        let now = self.wall_us();
        let source_uuid = self.uuid();
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(transfer) = channel.transfer.take() else { return };
        let (target, context) = *transfer;
        let source = format!("{}:{source_uuid}:bl_xfer:{target}/{context}/XML", now / 1_000_000);
        channel.other = None;
        channel.next_state = State::Routing;
        channel.plan.clear();
        if let Some(profile) = &mut channel.profile {
            let old = std::mem::replace(&mut profile.destination, target.as_str().into());
            profile.rdnis = Some(old);
            profile.transfer_source = Some(source.as_str().into());
            profile.index += 1;
            profile.created = now;
            profile.times.bridged = 0;
        }
        let hops: u32 = channel.vars.get("max_forwards").and_then(|value| value.parse().ok()).unwrap_or(70);
        channel.vars.set_number("max_forwards", hops.saturating_sub(1));
        channel.vars.set("transfer_history", source.clone());
        channel.vars.set("transfer_source", source);
        let peer = channel.peer.filter(|_| channel.role != Role::Caller);
        while let Some(top) = self.channels.get(&id).and_then(|channel| channel.stack.last()) {
            match &top.kind {
                App::Playback(_) | App::Digits(_) => self.stop_playing(id, "done"),
                App::Bridge(_) => self.leave_bridge(id),
                App::Park | App::Socket { .. } => self.drop_commands(id),
                _ => {}
            }
            self.finish(id);
        }
        if let Some(caller) = peer {
            // The far leg goes its own way: for its caller the bridge is over.
            self.leg_moved_on(caller, id);
        }
        self.release_socket(id);
        self.route(id, &target);
    }

    fn leg_moved_on(&mut self, caller: ChannelId, leg: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&leg) {
            channel.peer = None;
            channel.bridged = false;
            channel.hit_dialplan = true;
            channel.vars.remove("bridge_to");
        }
        self.far_leg_ended(caller, leg);
    }
}
