//! Nodes that announce themselves: those that a rule takes, those that an operator approves, and those that are gone for good.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Actor, Desk, Refused};
use crate::adapters::mail::NodeWord;
use crate::config::NodeConfig;
use crate::core::book::{Kind, Record};

/// The task `newcomers`.
pub async fn take_in(desk: Arc<Desk>, mut words: mpsc::Receiver<NodeWord>, task: kit::Task) -> anyhow::Result<()> {
    let shutdown = task.shutdown();
    while let Some(Some(word)) = shutdown.run_until_cancelled(words.recv()).await {
        match word {
            NodeWord::Came(node) => {
                let actor = Actor::announcement(&node.id, "a rule of edge.join takes it");
                if let Err(refused) = desk.take_node(&node, &actor).await {
                    tracing::warn!(
                        node.id = node.id,
                        why = refused.why,
                        "a node that announced itself is not taken in"
                    );
                }
            }
            NodeWord::Left(id) => desk.node_departed(&id).await,
        }
    }
    Ok(())
}

impl Desk {
    /// Puts a node that announced itself among the settings.
    pub async fn take_node(&self, node: &NodeConfig, actor: &Actor) -> Result<(), Refused> {
        let settings = serde_json::to_string(node).map_err(|error| Refused::wrong(error.to_string()))?;
        let record = Record { announced: true, ..self.record(&node.id, Some(settings), actor) };
        self.change_book(Kind::Node, &node.id, Some(record), actor).await
    }

    /// A node that came by announcement is gone for good; one of the files or of an operator stays.
    pub async fn node_departed(&self, id: &str) {
        let came_by_itself = self.state.lock().await.book.get(Kind::Node, id).is_some_and(|record| record.announced);
        if !came_by_itself {
            return;
        }
        let actor = Actor::announcement(id, "silent past its expiry");
        if let Err(refused) = self.change_book(Kind::Node, id, None, &actor).await {
            tracing::warn!(node.id = id, why = refused.why, "a node that is gone stays in the settings");
        }
    }
}
