//! `show` and `status`: what is there now, as text and JSON.

use super::channel::{Channel, Role};
use super::node::Node;
use super::stamp;

impl Node {
    pub fn show(&mut self, what: &str, words: &[&str]) -> String {
        let json = words.contains(&"json");
        let count = words.contains(&"count");
        let mut rows: Vec<&Channel> = match what {
            "channels" => self.channels.values().map(AsRef::as_ref).collect(),
            "calls" | "bridged_calls" | "detailed_calls" => self
                .channels
                .values()
                .map(AsRef::as_ref)
                .filter(|channel| channel.role == Role::Caller && (what == "calls" || channel.bridged))
                .collect(),
            _ => return format!("-ERR {what} is not simulated\n"),
        };
        rows.sort_unstable_by_key(|channel| channel.id);
        match (json, count) {
            (true, true) => format!("{{\"row_count\":{}}}\n", rows.len()),
            (false, true) => format!("\n{} total.\n", rows.len()),
            (true, false) if rows.is_empty() => "{\"row_count\": 0}\n".to_owned(),
            (true, false) => {
                let rows: Vec<serde_json::Value> = rows.iter().map(|channel| row(channel, &self.config.id)).collect();
                serde_json::json!({ "row_count": rows.len(), "rows": rows }).to_string()
            }
            (false, false) => {
                let mut text = String::new();
                for (at, channel) in rows.iter().enumerate() {
                    let row = row(channel, &self.config.id);
                    let Some(fields) = row.as_object() else { continue };
                    if at == 0 {
                        text.push_str(&fields.keys().map(String::as_str).collect::<Vec<_>>().join(","));
                        text.push('\n');
                    }
                    let values: Vec<&str> = fields.values().map(|value| value.as_str().unwrap_or_default()).collect();
                    text.push_str(&values.join(","));
                    text.push('\n');
                }
                format!("{text}\n{} total.\n", rows.len())
            }
        }
    }

    pub fn status(&mut self) -> String {
        let up = stamp::uptime(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX));
        let (peak, rate_peak, rate_five) = self.pulse.peaks();
        let (last, idle) = (self.pulse.last_second(), self.idle_cpu());
        let state = if self.draining { "is paused" } else { "is ready" };
        format!(
            "UP {up}\n{} {state}\n{} session(s) since startup\n{} session(s) - peak {peak}, last 5min {peak} \n{last} session(s) per Sec out of max {}, peak {rate_peak}, last 5min {rate_five} \n{} session(s) max\nmin idle cpu 0.00/{idle:.2}\nCurrent Stack Size/Max 240K/8192K\n",
            super::pulse::VERSION,
            self.pulse.sessions,
            self.channels.len(),
            self.config.max_per_second,
            self.config.max_sessions,
        )
    }
}

fn row(channel: &Channel, host: &str) -> serde_json::Value {
    let profile = channel.profile.as_deref();
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let created = profile.map_or(0, |profile| profile.times.created);
    let codec = channel.codec.map_or("", |codec| codec.name());
    let (rate, bits) = if codec.is_empty() { ("", "") } else { ("8000", "64000") };
    let app = channel.stack.last();
    let caller = profile.map_or("", |profile| &profile.caller_number);
    let (callee_name, callee) =
        profile.and_then(|p| p.callee.as_ref()).map_or(("", ""), |(name, number)| (name, number));
    serde_json::json!({
        "uuid": channel.uuid, "direction": channel.direction.name(), "created": stamp::local(created),
        "created_epoch": (created / 1_000_000).to_string(), "name": channel.name, "state": channel.state.name(),
        "cid_name": text(profile.and_then(|p| p.caller_name.as_deref())), "cid_num": caller,
        "ip_addr": text(profile.and_then(|p| p.network_addr.as_deref())), "dest": text(profile.map(|p| p.destination.as_ref())),
        "application": text(app.map(|a| a.app.as_ref())), "application_data": text(app.map(|a| a.data.as_ref())),
        "dialplan": text(profile.and_then(|p| p.dialplan.as_deref())), "context": text(profile.map(|p| p.context)),
        "read_codec": codec, "read_rate": rate, "read_bit_rate": bits,
        "write_codec": codec, "write_rate": rate, "write_bit_rate": bits,
        "secure": "", "hostname": host, "presence_id": "", "presence_data": "", "accountcode": "",
        "callstate": channel.call_state.name(), "callee_name": callee_name, "callee_num": callee,
        "callee_direction": "", "call_uuid": channel.call_uuid, "sent_callee_name": "", "sent_callee_num": "",
        "initial_cid_name": text(profile.and_then(|p| p.caller_name.as_deref())), "initial_cid_num": caller,
        "initial_ip_addr": text(profile.and_then(|p| p.network_addr.as_deref())),
        "initial_dest": text(profile.map(|p| p.destination.as_ref())),
        "initial_dialplan": text(profile.and_then(|p| p.dialplan.as_deref())), "initial_context": text(profile.map(|p| p.context)),
    })
}
