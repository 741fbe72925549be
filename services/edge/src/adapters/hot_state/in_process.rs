//! The edges of one process, or one edge alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::{Clock, Now};
use parking_lot::Mutex;

use super::{HotError, HotState};
use crate::core::admission::{Told, Use};

/// When somebody spoke last, and what of each limit it uses.
type Said = (Now, BTreeMap<String, Use>);

pub struct InProcess {
    said: Mutex<BTreeMap<String, Said>>,
    clock: Arc<dyn Clock>,
    lease: Duration,
}

impl InProcess {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, lease: Duration) -> InProcess {
        InProcess { said: Mutex::default(), clock, lease }
    }
}

#[async_trait]
impl HotState for InProcess {
    async fn exchange(&self, edge: &str, uses: &BTreeMap<String, Use>) -> Result<Told, HotError> {
        let now = self.clock.now();
        let mut said = self.said.lock();
        said.insert(edge.to_owned(), (now, uses.clone()));
        said.retain(|_, (at, _)| now.since(*at) < self.lease);
        Ok(Told { edges: said.iter().map(|(id, (_, uses))| (id.clone(), uses.clone())).collect() })
    }
}
