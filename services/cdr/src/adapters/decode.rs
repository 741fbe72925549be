//! From the events of the topics to compact facts. Translation only: what a fact means is decided in `core`.

mod channel;
mod edge;

use domain::CallId;
use schemas::{CallReconciled, ChannelEvent, DecodeError, Event, IvrDecision, SipTransaction};
use stream::Record;

use crate::core::fact::{Fact, IvrFact, Kind, ReconciledFact, Text};

pub use channel::channel;
pub use edge::edge;

/// A record, translated. `None` where the record belongs to no call, or says nothing that a record needs.
pub enum Translated {
    Fact(CallId, Box<Fact>),
    Nothing,
}

#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the key is no call id: {0}")]
    Call(#[from] domain::IdError),
    #[error("{0} is not read by the call log")]
    Topic(&'static str),
}

impl TranslateError {
    /// A schema that this build does not know is waited for, never thrown away.
    #[must_use]
    pub fn is_unknown_schema(&self) -> bool {
        matches!(self, TranslateError::Decode(DecodeError::UnknownSchema(_)))
    }
}

fn text(value: Option<String>) -> Text {
    value.filter(|v| !v.is_empty()).map(String::into_boxed_str)
}

fn own(value: String) -> Text {
    text(Some(value))
}

fn some_us(value: Option<i64>) -> i64 {
    value.unwrap_or(0).max(0)
}

fn fact<E: Event>(event: &E, at: i64, seq: i64, kind: Kind) -> Fact {
    Fact {
        id: domain::hex(&event.logical_id()).into(),
        at,
        seq,
        kind,
        what: event.event_type().into(),
        by: event.envelope().producer_id.as_str().into(),
        event: event.envelope().event_id(E::TOPIC.name).into(),
        edge: None,
        channel: None,
        ivr: None,
        reconciled: None,
    }
}

/// Translates one record of a call topic.
pub fn translate(record: &Record) -> Result<Translated, TranslateError> {
    // A record without a value only says that its key ended; call topics are not compacted, so none is expected.
    let Some(value) = record.value.as_deref() else { return Ok(Translated::Nothing) };
    let name = record.topic.name;
    if name == SipTransaction::TOPIC.name {
        Ok(edge(schemas::decode(value)?)?)
    } else if name == ChannelEvent::TOPIC.name {
        Ok(channel(schemas::decode(value)?)?)
    } else if name == IvrDecision::TOPIC.name {
        Ok(ivr(schemas::decode(value)?)?)
    } else if name == CallReconciled::TOPIC.name {
        Ok(reconciled(schemas::decode(value)?)?)
    } else {
        Err(TranslateError::Topic(name))
    }
}

pub fn ivr(e: IvrDecision) -> Result<Translated, domain::IdError> {
    let call: CallId = e.call_root_id.parse()?;
    let mut out = fact(&e, e.occurred_us, i64::from(e.step), Kind::Ivr);
    out.ivr = Some(Box::new(IvrFact {
        channel: own(e.channel_uuid),
        node: own(e.node_id),
        step: i64::from(e.step),
        menu: own(e.menu_id),
        version: i64::from(e.menu_version),
        menu_node: own(e.menu_node),
        outcome: own(e.outcome),
        action: text(e.action),
        target: text(e.action_target),
        digits: e.input.and_then(|i| text(i.digits)),
        next: text(e.next_node),
    }));
    Ok(Translated::Fact(call, Box::new(out)))
}

pub fn reconciled(e: CallReconciled) -> Result<Translated, domain::IdError> {
    let call: CallId = e.call_root_id.parse()?;
    let mut out = fact(&e, e.decided_us, 0, Kind::Reconciled);
    out.reconciled = Some(Box::new(ReconciledFact {
        leg: text(e.leg_id),
        node: text(e.node_id),
        core: text(e.core_uuid),
        rule: own(e.rule),
        last_seen: some_us(e.last_seen_us),
        decided: e.decided_us,
        end: some_us(e.end_us),
        disposition: text(e.disposition),
        cause: text(e.hangup_cause),
    }));
    Ok(Translated::Fact(call, Box::new(out)))
}
