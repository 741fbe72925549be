//! The world around the platform: simulated FreeSWITCH nodes and carriers, and the settings that make the services meet them.
//!
//! Nodes and carriers bind first, so that the settings can name their real ports; once the edge is bound, each is told where
//! the edge is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kit::Secret;
use sim::carrier::{Carrier, CarrierConfig, CarrierHandle, Generator, Hold, Open, TrunkCaller};
use sim::ledger::Ledger;
use sim::sip::Credentials;
use sim::switch::{Switch, SwitchConfig, SwitchHandle};

use crate::demo::Folder;
use crate::settings::Settings;

pub const NODES: [&str; 3] = ["fs-1", "fs-2", "fs-3"];
/// Trunks that ordinary calls come from.
pub const ORDINARY: [&str; 2] = ["north", "south"];
/// A customer's PBX whose password leaked: the attack comes from here.
pub const COMPROMISED: &str = "west";
/// Where calls out of the nodes go.
pub const OUTBOUND: &str = "transit";
/// Anybody on this machine: the SIPp line.
pub const VISITOR: &str = "visitor";
pub const ATTACKER: &str = "+4969900100";

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const AUTH_PASSWORD: &str = "Example-trunk-1";
/// A caller that waits for a dead node to hang up must not hold up a short run.
const FAR_PATIENCE: Duration = Duration::from_secs(12);

pub struct World {
    pub nodes: Vec<Arc<SwitchHandle>>,
    pub ordinary: Vec<CarrierHandle>,
    pub compromised: CarrierHandle,
    pub transit: CarrierHandle,
    pub ledger: Ledger,
}

impl World {
    pub async fn start(seed: u64) -> anyhow::Result<World> {
        let anywhere = SocketAddr::from((LOOPBACK, 0));
        let mut nodes = Vec::new();
        for (at, id) in NODES.into_iter().enumerate() {
            let seed_of_node = seed.wrapping_mul(31).wrapping_add(at as u64);
            nodes.push(Arc::new(node(id, [anywhere, anywhere], esl_password(seed), seed_of_node).await?));
        }
        let ledger = Ledger::new();
        let carrier = |id: &str| carrier(id, anywhere, seed, &ledger);
        Ok(World {
            nodes,
            ordinary: ORDINARY.iter().map(|id| carrier(id)).collect::<anyhow::Result<_>>()?,
            compromised: carrier(COMPROMISED)?,
            transit: carrier(OUTBOUND)?,
            ledger,
        })
    }

    /// Tells everybody where the edge listens.
    pub async fn connect(&self, trunk_side: SocketAddr, node_side: SocketAddr) -> anyhow::Result<()> {
        for carrier in self.ordinary.iter().chain([&self.compromised, &self.transit]) {
            carrier.set_edge(trunk_side).await?;
        }
        for node in &self.nodes {
            node.set_gateway(node_side).await;
        }
        Ok(())
    }

    /// The calls of a run: the same for the same seed.
    #[must_use]
    pub fn traffic(&self, seed: u64, rate: f64, hold: f64) -> Generator {
        traffic(seed, rate, hold, &ORDINARY)
    }

    /// The settings under which the services meet this world; all else stays at its default.
    #[must_use]
    pub fn settings(&self, folder: &Folder, seed: u64, listen: SocketAddr) -> Settings {
        let mut settings =
            Settings { data_dir: folder.path().to_path_buf(), run_dir: folder.run_dir(), ..Settings::default() };
        let anywhere = SocketAddr::from((LOOPBACK, 0));
        settings.drain_s = 15;
        settings.admin.bind = anywhere;
        settings.api.bind = listen;

        let edge = &mut settings.edge;
        for listener in &mut edge.listeners {
            listener.bind = anywhere;
        }
        for carrier in self.ordinary.iter().chain([&self.compromised]) {
            edge.trunks.push(trunk(carrier.id(), carrier.addr(), None));
        }
        edge.trunks.push(trunk(OUTBOUND, self.transit.addr(), Some(self.transit.addr())));
        edge.trunks.push(edge::TrunkConfig {
            sources: vec![edge::Source::Net { ip: LOOPBACK.into(), bits: 32 }],
            ..trunk(VISITOR, anywhere, None)
        });
        for node in &self.nodes {
            edge.nodes.push(edge::NodeConfig {
                id: node.id(),
                address: node.sip_addr().into(),
                ..edge::NodeConfig::default()
            });
        }
        edge.routes.push(edge::RouteConfig { trunks: vec![OUTBOUND.to_owned()], ..edge::RouteConfig::default() });
        // Whose password leaked may call what is dear: else the edge alone would stop the attack, before anybody could see one.
        edge.dial.rules.push(edge::DialRule {
            allow: vec!["premium".to_owned(), "satellite".to_owned()],
            ..edge::DialRule::default()
        });

        settings.engine.nodes = self
            .nodes
            .iter()
            .map(|node| engine::NodeConfig {
                id: node.id(),
                address: node.esl_addr().to_string(),
                password: Secret::new(esl_password(seed)),
            })
            .collect();
        settings.engine.agent_number = "+49221558001".to_owned();
        settings.fraud.velocity.mode = fraud::Mode::Enforce;
        settings
    }

    /// Calls that carriers still hold.
    pub async fn open(&self) -> Open {
        let mut all = Open::default();
        for carrier in self.ordinary.iter().chain([&self.compromised, &self.transit]) {
            let open = carrier.open().await.unwrap_or_default();
            all.placed += open.placed;
            all.received += open.received;
        }
        all
    }

    pub async fn hang_up_all(&self) {
        for carrier in self.ordinary.iter().chain([&self.compromised, &self.transit]) {
            // A carrier that is gone has nothing to hang up.
            let _ = carrier.hang_up_all().await;
        }
    }
}

/// A simulated FreeSWITCH; `at` are its SIP and its ESL address.
pub async fn node(id: &str, at: [SocketAddr; 2], esl_password: String, seed: u64) -> anyhow::Result<SwitchHandle> {
    let config = SwitchConfig {
        id: id.to_owned(),
        sip_bind: at[0],
        esl_bind: at[1],
        esl_password,
        auth_password: AUTH_PASSWORD.to_owned(),
        seed,
        max_sessions: 5000,
        ..SwitchConfig::default()
    };
    Switch::start(config).await.with_context(|| format!("simulated node {id}"))
}

/// A simulated carrier that does not know its edge yet.
pub fn carrier(id: &str, at: SocketAddr, seed: u64, ledger: &Ledger) -> anyhow::Result<CarrierHandle> {
    let mut config = CarrierConfig::new(id, at, at, seed, ledger.clone());
    config.credentials = Some(credentials(id));
    Carrier::start(config).with_context(|| format!("simulated carrier {id}"))
}

/// Ordinary calls over these trunks: the same for the same seed.
#[must_use]
pub fn traffic(seed: u64, rate: f64, hold: f64, trunks: &[&str]) -> Generator {
    let caller = |id: &&str| TrunkCaller { id: (*id).to_owned(), credentials: Some(credentials(id)) };
    let mut generator = Generator::new(seed, rate, trunks.iter().map(caller).collect());
    let mean = Duration::from_secs_f64(hold);
    generator.hold = Hold { mean, max: mean.mul_f64(8.0).max(Duration::from_secs(2)), ..Hold::default() };
    generator.far_patience = FAR_PATIENCE.max(mean);
    generator
}

fn trunk(id: &str, source: SocketAddr, address: Option<SocketAddr>) -> edge::TrunkConfig {
    edge::TrunkConfig {
        id: id.to_owned(),
        sources: vec![edge::Source::Port(source)],
        address: address.map(Into::into),
        ..edge::TrunkConfig::default()
    }
}

fn credentials(id: &str) -> Credentials {
    Credentials { user: id.to_owned(), password: AUTH_PASSWORD.to_owned() }
}

/// Different in every run, so that two demos at once cannot command each other's nodes.
fn esl_password(seed: u64) -> String {
    format!("Example-esl-{seed}-{}", std::process::id())
}
