//! Prompts: when they start and stop, and what that leaves in the channel.

use super::bus::Event;
use super::channel::ChannelId;
use super::event::{Kind, place};
use super::exec::{App, Running};
use super::node::Node;
use super::prompt;

impl Node {
    pub fn start_playback(&mut self, id: ChannelId, file: &str) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let Some(Running { kind: App::Playback(play), .. }) = channel.stack.last() else {
            channel.vars.set("current_application_response", "FILE NOT FOUND");
            return;
        };
        let length = play.length;
        self.pre_answer(id);
        self.read_ack(id);
        self.say_play(id, Kind::PlaybackStart, file, None);
        self.wait(id, length);
    }

    pub fn playback_done(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.vars.set("current_application_response", "FILE PLAYED");
        }
        self.finish(id);
    }

    /// PLAYBACK_START and PLAYBACK_STOP, of `playback` and of the prompts inside `play_and_get_digits`.
    pub fn say_play(&mut self, id: ChannelId, kind: Kind, file: &str, status: Option<&str>) {
        let Some(channel) = self.channels.get(&id) else { return };
        let place = if status.is_some() { place::PLAY_STOP } else { place::PLAY_START };
        let tail = [
            ("Playback-File-Type", prompt::kind(file)),
            ("Playback-File-Path", file),
            ("Playback-Status", status.unwrap_or_default()),
        ];
        let tail = if status.is_some() { &tail[..] } else { &tail[..2] };
        self.bus.fire(Event { tail, ..Event::of(kind, place, channel) });
    }

    /// The prompt that is playing ends, by itself (`done`) or because of a digit or hangup (`break`).
    pub fn stop_playing(&mut self, id: ChannelId, status: &str) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let play = match channel.stack.last().map(|running| &running.kind) {
            Some(App::Playback(play)) => play,
            Some(App::Digits(collect)) => match collect.playing() {
                Some(play) => play,
                None => return,
            },
            _ => return,
        };
        let file = play.file.clone();
        let played = if status == "done" { play.length } else { play.since.elapsed().min(play.length) };
        let ms = u64::try_from(played.as_millis()).unwrap_or(0);
        // Whole frames, as a player counts them.
        let ms = if status == "done" { ms } else { ms / 20 * 20 };
        channel.played_ms += ms;
        channel.vars.set_number("playback_last_offset_pos", ms * 8);
        channel.vars.set_number("playback_seconds", ms / 1000);
        channel.vars.set_number("playback_ms", ms);
        channel.vars.set_number("playback_samples", ms * 8);
        self.say_play(id, Kind::PlaybackStop, &file, Some(status));
    }
}
