//! Where the engine is put together: one task per node, all on one publisher.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use esl::Command;
use kit::TaskOptions;

use crate::adapters::connection::Connection;
use crate::config::{Config, Control, NodeConfig};
use crate::core::{Menu, Node, Observer, Rhythm, Setup, subscription};
use crate::error::StartError;
use crate::metrics;
use crate::status::NodeHandle;

/// The menu for when none is named in the settings.
const BUILT_IN: &str = include_str!("../../../infra/config/menus/main.toml");

/// A turn of a connection's loop is half a second at most; this long without one is a hang.
const STALL: Duration = Duration::from_secs(10);

/// The running engine.
#[derive(Debug, Clone)]
pub struct Running {
    pub nodes: Vec<NodeHandle>,
    /// `None` when the engine only observes.
    pub menu: Option<Arc<Menu>>,
}

impl Running {
    /// Whether every node is connected now.
    pub fn all_up(&self) -> bool {
        self.nodes.iter().all(|node| node.state().up)
    }
}

/// Starts the engine. Nodes that are away are no error: they are tried until shutdown, and reported.
pub async fn run(config: Config, kit: kit::Service, stream: stream::Client) -> anyhow::Result<Running> {
    let menu = match config.control {
        Control::Own => Some(Arc::new(load_menu(config.menu.as_deref(), &config.agent_number)?)),
        Control::Observe => None,
    };
    let mut nodes = Vec::with_capacity(config.nodes.len());
    let mut connections = Vec::with_capacity(config.nodes.len());
    for (index, node) in config.nodes.iter().enumerate() {
        let handle = NodeHandle::new(&node.id, &node.address);
        let connection = Connection {
            node: Node::new(setup(index, node, &config, &kit, menu.clone())?, kit.clock.now()),
            handle: handle.clone(),
            connect_timeout: Duration::from_millis(config.link.connect_timeout_ms),
            dead_after: Duration::from_millis(config.link.dead_after_ms),
            clock: Arc::clone(&kit.clock),
            publisher: stream.publisher.clone(),
        };
        nodes.push(handle);
        connections.push((node.id.clone(), connection));
    }
    kit.metrics.with(|registry| metrics::register(registry, nodes.clone()));
    for (id, connection) in connections {
        kit.life.spawn(format!("node-{id}"), TaskOptions::critical().stall_after(STALL), |task| connection.run(task));
    }
    if nodes.is_empty() {
        tracing::warn!("engine.nodes is empty: there is no FreeSWITCH to watch");
    }
    Ok(Running { nodes, menu })
}

fn load_menu(path: Option<&Path>, agent_number: &str) -> Result<Menu, StartError> {
    let (name, text) = match path {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            (path, read.map_err(|source| StartError::MenuFile { path: path.to_owned(), source })?)
        }
        None => (Path::new("(built in)"), BUILT_IN.to_owned()),
    };
    Menu::parse(&text, agent_number).map_err(|source| StartError::Menu { path: name.to_owned(), source })
}

fn setup(
    index: usize,
    node: &NodeConfig,
    config: &Config,
    kit: &kit::Service,
    menu: Option<Arc<Menu>>,
) -> Result<Setup, StartError> {
    let link = &config.link;
    Ok(Setup {
        observer: Observer {
            node_id: node.id.clone(),
            engine_id: kit.instance.id.clone(),
            address: node.address.clone(),
        },
        setting: format!("engine.nodes[{index}] {}", node.id),
        auth: Command::auth(node.password.expose()).map_err(|source| StartError::Password { index, source })?,
        subscription: subscription(),
        keys: Arc::clone(&kit.keys),
        rhythm: Rhythm {
            ping_ms: link.ping_ms,
            dead_after_ms: link.dead_after_ms,
            backoff_min_ms: link.backoff_min_ms,
            backoff_max_ms: link.backoff_max_ms,
            refused_ms: link.refused_pause_ms,
        },
        menu,
    })
}
