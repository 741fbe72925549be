//! FreeSWITCH's event socket, without the socket: frames, events, commands and replies over bytes that somebody else moves.
//!
//! Pure: no I/O, no clock, nothing of ours below it. Reading is lazy (an event is an index over the received buffer; a value is
//! decoded when somebody asks for it) and writing is typed (no string reaches the wire without a check of its characters).

pub mod command;
pub mod event;
pub mod fields;
pub mod frame;
pub mod reply;

pub use command::Command;
pub use event::{Event, Format, Index};
pub use frame::{Frame, FrameError, Framer, Kind, Limits};
pub use reply::Reply;
