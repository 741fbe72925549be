//! Menus: the data, its check, and the machine that leads one caller through.

mod check;
mod decision;
mod load;
mod machine;
mod model;

#[cfg(test)]
mod tests;

pub use load::MenuError;
pub(crate) use machine::{Do, Input, Run, Token};
pub use model::Menu;
