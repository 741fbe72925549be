//! Everything that the api has read from the topics.

use super::acks::Acks;
use super::alerts::Alerts;
use super::audit::Audit;
use super::blocks::Blocks;
use super::nodes::Nodes;

#[derive(Debug, Default)]
pub struct Board {
    pub blocks: Blocks,
    pub nodes: Nodes,
    pub acks: Acks,
    pub alerts: Alerts,
    pub audit: Audit,
}
