//! The composition root: which services run in this process and where, and in which order they start.
//!
//! `standalone` and `demo` start services through here, single services through the same table (`slot.rs`), so none of them is
//! wired in two ways.

use std::sync::Arc;

use anyhow::Context as _;
use kit::Lifecycle;
use stream::Publisher;

use crate::base::Base;
use crate::runtimes::Place;
use crate::slot::{self, Slot};

/// The call path, which only a mistake that a person has to mend keeps from starting, and what lives downstream of it, which keeps it
/// from nothing.
pub struct Platform {
    pub base: Arc<Base>,
    pub edge: edge::Running,
    /// Ends when the edge does.
    pub edge_life: Lifecycle,
    /// Publishes under the edge's name what no edge ever saw; only the demo's sabotage uses it.
    pub saboteur: Publisher,
    pub api: Slot<api::Running>,
    pub engine: Slot<engine::Running>,
    pub downstream: Downstream,
}

/// The services that live on what the calls say: each can be missing for a while, and then reads what it has missed.
pub struct Downstream {
    pub cdr: Slot<cdr::Running>,
    pub analytics: Slot<analytics::Running>,
    pub capacity: Slot<capacity::Running>,
    pub fraud: Slot<fraud::Running>,
}

impl Platform {
    /// Starts the page, so that a taken port is told before any call comes, and the call path. What lives downstream is made, not started.
    pub async fn start(base: &Arc<Base>, live: &Place, behind: &Place) -> anyhow::Result<Platform> {
        let mut api = Slot::new("api", slot::API, base, behind);
        api.start().await?;
        let mut engine = Slot::new("engine", slot::ENGINE, base, live);
        engine.start().await?;
        let (service, client) = base.open("edge").await?;
        let (edge_life, saboteur) = (service.life.clone(), client.publisher.clone());
        let edge = edge::run(base.settings.edge.clone(), service, client).await.context("edge")?;
        let downstream = Downstream {
            cdr: Slot::new("cdr", slot::CDR, base, behind),
            analytics: Slot::new("analytics", slot::ANALYTICS, base, behind),
            capacity: Slot::new("capacity", slot::CAPACITY, base, behind),
            fraud: Slot::new("fraud", slot::FRAUD, base, behind),
        };
        Ok(Platform { base: Arc::clone(base), edge, edge_life, saboteur, api, engine, downstream })
    }
}

impl Downstream {
    /// Starts all of them, or says which one did not start.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.cdr.start().await?;
        self.analytics.start().await?;
        self.capacity.start().await?;
        self.fraud.start().await
    }
}
