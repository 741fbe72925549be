//! What the machine wants somebody to read, as log lines. Rare by itself: the machine says each thing once and then hourly.

use crate::core::Notice;

pub fn log(notice: &Notice) {
    match notice {
        Notice::Flood { trunk } => tracing::error!(
            trunk.id = trunk,
            "more calls come by UDP from this trunk's address than it may make, and they come twice like its own: if it is not the trunk, \
             its address is forged, and only TLS or IPsec tells the two apart; the trunk is held to its limit, others are not touched"
        ),
        Notice::Carrier { trunk, before, state: "up", reason } => {
            tracing::info!(trunk.id = trunk, before, reason, "a carrier answers again");
        }
        Notice::Carrier { trunk, before, state, reason } => tracing::warn!(
            trunk.id = trunk,
            before,
            state,
            reason,
            "a carrier does not answer its probes: calls go to the others of their route first"
        ),
        Notice::Knock(told) => {
            let knock = &told.knock;
            tracing::warn!(
                source = knock.source,
                port = knock.port,
                listener.id = knock.listener.as_deref().unwrap_or_default(),
                transport = knock.transport.unwrap_or_default(),
                messages = told.messages,
                in_all = knock.messages,
                others_not_told = told.untold,
                admit = knock.admit,
                "a source that is neither trunk nor node knocks and gets no answer; `admit` are the lines that would let it in"
            );
        }
    }
}
