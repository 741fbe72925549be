//! Topics in, topics out.

mod decode;
mod leftovers;
mod publish;
mod signals;

pub use leftovers::Leftovers;
pub use publish::Writer;
pub use signals::Signals;
