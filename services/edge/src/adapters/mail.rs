//! What goes between the thread that owns the proxy and the tasks around it, by mailboxes.

use std::sync::Arc;

use schemas::ControlAck;

use crate::config::NodeConfig;
use crate::core::admission::Told;
use crate::core::control::Control;
use crate::core::{Fresh, NodeNews, Proxy};

/// A state of the control topics and the acknowledgement that is due once it is in force; or what engines say about nodes.
pub enum Update {
    Control {
        control: Arc<Control>,
        ack: Option<Box<ControlAck>>,
    },
    Nodes(Vec<NodeNews>),
    Settings(Box<Fresh>),
    /// Take no new calls, or take them again.
    Drain(bool),
    /// Somebody wants to see what no snapshot holds. Short and seldom: calls wait for it.
    Look(Box<dyn FnOnce(&Proxy) + Send>),
    /// What the edges that share limits use of them.
    Shared(Arc<Told>),
}

/// What the machine says about nodes that are not only in a file.
#[derive(Debug)]
pub enum NodeWord {
    /// It announced itself and a rule of `edge.join` takes it.
    Came(Box<NodeConfig>),
    /// One that a rule took is silent past its expiry, down, and without calls.
    Left(String),
}
