//! Open dialogs for an operator: which calls there are, on which node, of which trunk.

use domain::{CallId, Now};
use serde::{Deserialize, Serialize};

use crate::core::Proxy;
use crate::core::dialog::dialogs::Phase;

/// Dialogs shown at once, and places looked at in one go: a look keeps calls waiting.
const PAGE: usize = 500;
const LOOKED_AT: usize = 2_000;

/// What is asked for; everything that is set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialogFilter {
    /// Id of a trunk or node that has a part in it.
    pub peer: Option<String>,
    /// Call id or Call-ID.
    pub call: Option<String>,
    /// At most so many (100; 500).
    pub limit: Option<usize>,
    /// Where to go on, as the page before said.
    pub from: usize,
    /// Show phone numbers whole.
    pub numbers: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct DialogView {
    pub call_id: String,
    pub leg_id: String,
    pub sip_call_id: String,
    /// `trunk/…` or `node/…`.
    pub caller: String,
    pub callee: String,
    pub account: Option<String>,
    pub caller_number: String,
    pub callee_number: String,
    /// When the INVITE came (µs since 1970 UTC).
    pub received_us: i64,
    /// Since it was answered (ms).
    pub age_ms: u64,
    pub reinvites: i32,
    /// Its BYE is on the way.
    pub ending: bool,
    /// The node that goes on with it after its own was lost.
    pub moved_to: Option<String>,
}

/// Some of the dialogs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DialogPage {
    /// All that are open.
    pub open: usize,
    pub dialogs: Vec<DialogView>,
    /// Pass it as `from` to see more; none: that was all. A page may be short, or empty, and still have a next one.
    pub next: Option<usize>,
}

impl Proxy {
    /// A page of the open dialogs that fit.
    #[must_use]
    pub fn dialog_page(&self, now: Now, filter: &DialogFilter) -> DialogPage {
        let limit = filter.limit.unwrap_or(100).clamp(1, PAGE);
        let call: Option<CallId> = filter.call.as_deref().and_then(|id| id.parse().ok());
        let mut page = DialogPage { open: self.dialogs.open(), ..DialogPage::default() };
        for (at, dialog) in (filter.from..).zip(self.dialogs.iter_from(filter.from)) {
            if at - filter.from == LOOKED_AT || page.dialogs.len() == limit {
                page.next = Some(at);
                return page;
            }
            let Some(dialog) = dialog else { continue };
            if matches!(dialog.phase, Phase::Over { .. }) {
                continue;
            }
            let named = |peer| format!("{}/{}", crate::core::Peer::side(peer).as_str(), self.topology.id_of(peer));
            let has_part =
                |id: &str| [dialog.caller, dialog.callee].iter().any(|&peer| self.topology.id_of(peer) == id);
            let is_called = |id: &str| call.map_or(&*dialog.sip_call_id == id, |call| dialog.call == call);
            if !filter.peer.as_deref().is_none_or(has_part) || !filter.call.as_deref().is_none_or(is_called) {
                continue;
            }
            let shown = |number: &str| if filter.numbers { number.to_owned() } else { domain::mask_number(number) };
            page.dialogs.push(DialogView {
                call_id: dialog.call.to_string(),
                leg_id: dialog.leg.to_string(),
                sip_call_id: dialog.sip_call_id.to_string(),
                caller: named(dialog.caller),
                callee: named(dialog.callee),
                account: dialog.account.as_deref().map(str::to_owned),
                caller_number: shown(&dialog.caller_number),
                callee_number: shown(&dialog.callee_number),
                received_us: dialog.received.wall_us,
                age_ms: now.mono_us.saturating_sub(dialog.answered.mono_us) / 1_000,
                reinvites: dialog.reinvites,
                ending: dialog.phase == Phase::Ending,
                moved_to: dialog.moved_to.map(|node| self.topology.nodes[node].id.clone()),
            });
        }
        page
    }
}
