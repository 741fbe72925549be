//! Why the engine does not start. A node that cannot be reached is no reason: it is retried and reported.

use std::path::PathBuf;

use crate::core::MenuError;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot read the menu {path} (setting engine.menu): {source}", path = .path.display())]
    MenuFile { path: PathBuf, source: std::io::Error },
    #[error("the menu {path} (setting engine.menu) is wrong: {source}", path = .path.display())]
    Menu { path: PathBuf, source: MenuError },
    #[error("engine.nodes[{index}].password cannot be sent: {source}")]
    Password { index: usize, source: esl::command::CommandError },
}
