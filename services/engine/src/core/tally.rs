//! What one node gave us and what became of it, counted since the engine started.

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events read.
    pub events: u64,
    /// … that became a record of `channel.events`.
    pub published: u64,
    /// … that are about no channel, or frames of a kind that we do not use.
    pub events_ignored: u64,
    /// … of a channel that was there before us and did not yet say whose it is.
    pub events_unattributed: u64,
    /// … that were no events.
    pub events_unread: u64,
    /// Keys of sensitive inputs, which nobody else gets to see.
    pub keys_withheld: u64,
    pub heartbeats: u64,
    pub decisions: u64,
    pub commands: u64,
    pub commands_refused: u64,
    /// Commands that found the link down.
    pub commands_unsent: u64,
    /// Channels that ended while nobody was listening.
    pub channels_forgotten: u64,
    /// Marked channels whose id is no UUID, and which therefore cannot be commanded.
    pub channels_refused: u64,
}
