//! Topics in, topics out.

mod attempts;
mod control;
mod publish;

pub use attempts::Attempts;
pub use control::Control;
pub use publish::Writer;
