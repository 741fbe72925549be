//! The ring: where an accepted event is. A file on a tmpfs that survives `kill -9` (not a reboot), or memory of this process.
//!
//! | module | what |
//! |---|---|
//! | `layout` | where what stands in the file |
//! | `frame` | one event as bytes |
//! | `admission` | who is still let in as it fills |
//! | `losses` | numbers that will never arrive, as ranges |
//! | `memory` | the mapping; the only `unsafe` |
//! | `buffer` | push, take, advance; lines and losses in the file |
//! | `file` | making, finding and refusing ring files |
//! | `inspect` | looking in from outside |

mod admission;
mod buffer;
mod file;
mod frame;
mod inspect;
mod layout;
mod losses;
mod memory;
#[cfg(test)]
mod model_test;

pub use self::{
    admission::SHED_ORDER,
    file::RingError,
    file::require_tmpfs,
    inspect::{RingLine, RingReport, inspect},
    losses::{Loss, Reason},
    memory::Memory as Mapped,
};
pub(crate) use self::{
    admission::rank,
    buffer::{Buffer, LineEntry},
    file::{boot_id, open, private},
    frame::{Frame, Meta, write as write_frame},
    losses::Losses,
};
