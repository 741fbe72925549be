//! What a channel leaves behind in its last event: stamps, durations, media statistics, in FreeSWITCH's names.

use super::cause;
use super::channel::ChannelId;
use super::node::Node;
use super::stamp;
use super::vars::Vars;

impl Node {
    /// Fills the variables that CHANNEL_HANGUP_COMPLETE adds.
    pub fn report(&mut self, id: ChannelId) {
        let jitter = self.rng.range_f64(0.2, 4.0);
        let lossy = self.rng.chance(0.05);
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let why = channel.cause.unwrap_or("NORMAL_CLEARING");
        let vars = &mut channel.vars;
        vars.set("hangup_cause", why);
        vars.set_number("hangup_cause_q850", cause::q850(why));
        let dialed = std::mem::take(&mut channel.dialed);
        vars.set("digits_dialed", if dialed.is_empty() { "none".to_owned() } else { dialed });
        if let Some(profile) = &channel.profile {
            stamps(vars, &profile.times, profile.created);
        }
        if let Some((app, data)) = channel.last_app.take() {
            vars.set("last_app", app.into_string());
            vars.set("last_arg", data.into_string());
        }
        if let Some(profile) = &channel.profile {
            let id = match &profile.caller_name {
                Some(name) => format!("\"{name}\" <{}>", profile.caller_number),
                None => profile.caller_number.to_string(),
            };
            vars.set("caller_id", id);
            durations(vars, &profile.times, profile.created);
        }
        if let Some(since) = channel.media_since {
            let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(0);
            let sent = if channel.bridged || channel.peer.is_some() { ms } else { channel.played_ms };
            media(vars, ms / 20, sent / 20, channel.media_in, jitter, lossy);
        }
    }
}

fn stamps(vars: &mut Vars, times: &super::channel::Times, created: i64) {
    let moments = [
        ("start_stamp", times.created),
        ("profile_start_stamp", created),
        ("answer_stamp", times.answered),
        ("bridge_stamp", times.bridged),
        ("progress_stamp", times.progress),
        ("progress_media_stamp", times.progress_media),
        ("end_stamp", times.hangup),
    ];
    for (name, us) in moments.into_iter().filter(|(_, us)| *us != 0) {
        vars.set(name, stamp::local(us));
    }
    for (seconds, micros, us) in [
        ("start_epoch", "start_uepoch", times.created),
        ("profile_start_epoch", "profile_start_uepoch", created),
        ("answer_epoch", "answer_uepoch", times.answered),
        ("bridge_epoch", "bridge_uepoch", times.bridged),
        ("last_hold_epoch", "last_hold_uepoch", times.last_hold),
        ("resurrect_epoch", "resurrect_uepoch", times.resurrect),
        ("progress_epoch", "progress_uepoch", times.progress),
        ("progress_media_epoch", "progress_media_uepoch", times.progress_media),
        ("end_epoch", "end_uepoch", times.hangup),
    ] {
        vars.set_number(seconds, us / 1_000_000);
        vars.set_number(micros, us);
    }
    vars.set_number("hold_accum_seconds", times.hold_accum / 1_000_000);
    vars.set_number("hold_accum_usec", times.hold_accum);
    vars.set_number("hold_accum_ms", times.hold_accum / 1000);
}

fn durations(vars: &mut Vars, times: &super::channel::Times, created: i64) {
    let from_start = |us: i64| if us == 0 { 0 } else { us - times.created };
    let billed = if times.answered == 0 { 0 } else { times.hangup - times.answered };
    for (names, us) in [
        (["duration", "mduration", "uduration"], times.hangup - times.created),
        (["billsec", "billmsec", "billusec"], billed),
        (["progresssec", "progressmsec", "progressusec"], from_start(times.progress)),
        (["answersec", "answermsec", "answerusec"], from_start(times.answered)),
        (["waitsec", "waitmsec", "waitusec"], from_start(times.bridged)),
        (["progress_mediasec", "progress_mediamsec", "progress_mediausec"], from_start(times.progress_media)),
        (["flow_billsec", "flow_billmsec", "flow_billusec"], times.hangup - created),
    ] {
        let [sec, msec, usec] = names;
        vars.set_number(sec, us / 1_000_000);
        vars.set_number(msec, us / 1000);
        vars.set_number(usec, us);
    }
}

/// RTP statistics: `due` packets should have come, `sent` went out. Bytes are 12 of header and 160 of sound per packet.
fn media(vars: &mut Vars, due: u64, sent: u64, flows: bool, jitter: f64, lossy: bool) {
    let lost = if flows && lossy { due / 40 } else { 0 };
    let received = if flows { due - lost } else { 0 };
    let (loss, burst) = if flows && lossy { (2.5, 1.2) } else { (0.0, 0.0) };
    let (jitter_min, jitter_max, interval) = if flows { (jitter, jitter * 6.0, 20.0) } else { (0.0, 0.0, 0.0) };
    let quality = 100.0 - loss * 3.0;
    let mos = 4.5 - loss * 0.2 - if flows { jitter * 0.02 } else { 0.0 };
    let mut count = |name: &'static str, value: u64| vars.set_number(name, value);
    count("rtp_audio_in_raw_bytes", received * 172);
    count("rtp_audio_in_media_bytes", received * 172);
    count("rtp_audio_in_packet_count", received);
    count("rtp_audio_in_media_packet_count", received);
    count("rtp_audio_in_skip_packet_count", due - received);
    count("rtp_audio_in_jitter_packet_count", 0);
    count("rtp_audio_in_dtmf_packet_count", 0);
    count("rtp_audio_in_cng_packet_count", 0);
    count("rtp_audio_in_flush_packet_count", 0);
    count("rtp_audio_in_largest_jb_size", 0);
    for (name, value) in [
        ("rtp_audio_in_jitter_min_variance", jitter_min),
        ("rtp_audio_in_jitter_max_variance", jitter_max),
        ("rtp_audio_in_jitter_loss_rate", loss),
        ("rtp_audio_in_jitter_burst_rate", burst),
        ("rtp_audio_in_mean_interval", interval),
    ] {
        vars.set(name, format!("{value:.2}"));
    }
    vars.set_number("rtp_audio_in_flaw_total", lost);
    vars.set("rtp_audio_in_quality_percentage", format!("{quality:.2}"));
    vars.set("rtp_audio_in_mos", format!("{mos:.2}"));
    let mut count = |name: &'static str, value: u64| vars.set_number(name, value);
    count("rtp_audio_out_raw_bytes", sent * 172);
    count("rtp_audio_out_media_bytes", sent * 172);
    count("rtp_audio_out_packet_count", sent);
    count("rtp_audio_out_media_packet_count", sent);
    count("rtp_audio_out_skip_packet_count", 0);
    count("rtp_audio_out_dtmf_packet_count", 0);
    count("rtp_audio_out_cng_packet_count", 0);
    count("rtp_audio_rtcp_packet_count", 0);
    count("rtp_audio_rtcp_octet_count", 0);
}
