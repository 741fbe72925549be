//! What one source of a trunk may send before it has to send it twice: section `admission`.

use kit::settings::{Check, Problem, join};
use serde::{Deserialize, Serialize};

use super::{Config, Side, Transport, TrunkConfig};
use crate::core::admission::Methods;

/// Of each source: an IPv4 address, or a network of 64 bits of IPv6. 0 = no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Messages that cannot be read and are answered.
    pub malformed_per_s: f64,
    pub options_per_s: f64,
    /// In ten seconds, and so many at once.
    pub registers_per_10s: f64,
    /// New INVITEs, as a multiple of the `cps` of their trunk.
    pub invites_per_cps: f64,
    /// New INVITEs of a trunk without `cps`.
    pub invites_per_s: f64,
    /// Requests that belong to nothing: inside dialogs that are not ours, of methods that we do not know.
    pub strays_per_s: f64,
}

impl Default for AdmissionConfig {
    fn default() -> AdmissionConfig {
        AdmissionConfig {
            malformed_per_s: 10.0,
            options_per_s: 20.0,
            registers_per_10s: 5.0,
            invites_per_cps: 2.0,
            invites_per_s: 2_000.0,
            strays_per_s: 100.0,
        }
    }
}

impl Check for AdmissionConfig {
    fn check(&self, at: &str, out: &mut Vec<Problem>) {
        for (key, value) in [
            ("malformed_per_s", self.malformed_per_s),
            ("options_per_s", self.options_per_s),
            ("registers_per_10s", self.registers_per_10s),
            ("invites_per_cps", self.invites_per_cps),
            ("invites_per_s", self.invites_per_s),
            ("strays_per_s", self.strays_per_s),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                out.push(Problem::new(join(at, key), value, "0 (no limit) or more"));
            }
        }
        if self.invites_per_cps > 0.0 && self.invites_per_cps < 1.0 {
            let why = "1 or more, or a trunk could not reach its own cps without sending everything twice";
            out.push(Problem::new(join(at, "invites_per_cps"), self.invites_per_cps, why));
        }
    }
}

impl Config {
    /// What is dialled for help on a trunk: its own list, its country's, else the common one.
    #[must_use]
    pub fn emergency_of(&self, trunk: &TrunkConfig) -> Vec<String> {
        let of_country = |country: &String| self.dial.ranges().emergency.get(&country.to_ascii_uppercase()).cloned();
        let own = trunk.emergency.clone().or_else(|| trunk.emergency_country.as_ref().and_then(of_country));
        own.unwrap_or_else(|| self.emergency.clone())
    }

    pub(super) fn check_trunk_limits(&self, trunk: &TrunkConfig, at: &str, out: &mut Vec<Problem>) {
        let rates = [("cps", trunk.cps), ("cps_out", trunk.cps_out), ("emergency_cps", trunk.emergency_cps)];
        for (key, value) in rates {
            if !(value >= 0.0 && value.is_finite()) {
                out.push(Problem::new(join(at, key), value, "0 or more"));
            }
        }
        if !(400..=699).contains(&trunk.limit_status) {
            out.push(Problem::new(join(at, "limit_status"), trunk.limit_status, "a final failure: 400 to 699"));
        }
        for method in trunk.methods.iter().filter(|m| !Methods::is_known(m)) {
            let why = "INVITE, OPTIONS, REGISTER, INFO, REFER, MESSAGE, SUBSCRIBE, NOTIFY or PUBLISH; what a call needs passes anyway";
            out.push(Problem::new(join(at, "methods"), method, why));
        }
        let key = join(at, "source_transports");
        for transport in &trunk.source_transports {
            if !self.listeners.iter().any(|l| l.side == Side::Trunk && l.transport == *transport) {
                out.push(Problem::new(
                    &key,
                    transport.as_str(),
                    "a transport that a listener with side = \"trunk\" has",
                ));
            }
        }
        if let Some(subject) = &trunk.source_subject {
            let is_plain = |t: &Transport| !matches!(t, Transport::Tls | Transport::Wss);
            if trunk.source_transports.is_empty() || trunk.source_transports.iter().any(is_plain) {
                let why = "source_transports = [\"tls\"], or \"wss\": over others nobody shows a certificate";
                out.push(Problem::new(join(at, "source_subject"), subject, why));
            }
        }
        if let Some(country) = &trunk.emergency_country {
            let key = join(at, "emergency_country");
            if trunk.emergency.is_some() {
                out.push(Problem::new(key, country, "either this or `emergency`, not both"));
            } else if !self.dial.ranges().emergency.contains_key(&country.to_ascii_uppercase()) {
                out.push(Problem::new(key, country, "a country of the ranges, like DE; else a list in `emergency`"));
            }
        }
    }
}
