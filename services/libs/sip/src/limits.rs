//! Upper bounds of everything that a sender decides. A message within them is parsed in a few microseconds; one beyond
//! them is refused before anything is done in proportion to its size.

/// The whole message (513).
pub const MAX_MESSAGE: usize = 32 * 1024;
/// Start line and headers together (513).
pub const MAX_HEAD: usize = 16 * 1024;
/// One header with its folded lines (513).
pub const MAX_HEADER: usize = 4 * 1024;
/// Header lines (400).
pub const MAX_HEADERS: usize = 128;
/// The request URI (414).
pub const MAX_URI: usize = 1024;
/// Values of Via, over all its lines (400).
pub const MAX_VIAS: usize = 70;
/// Values of Route, and of Record-Route (400).
pub const MAX_ROUTES: usize = 30;
/// A session description (413).
pub const MAX_SDP: usize = 8 * 1024;
