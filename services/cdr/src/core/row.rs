//! The two rows of the call log, each declared once: struct, column list and text form come from the same lines.
//!
//! The order of the fields is the order of the columns in the table and of the keys in the canonical export. Times are UTC
//! microseconds, durations milliseconds from one witness's own clock. Lists are JSON texts. A field that no witness filled is
//! null, never a default.

use serde::{Deserialize, Serialize};

/// A value as a store and an export see it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Real(Option<f64>),
}

/// A field type that a column can hold.
pub trait Field: Sized {
    const SQL: &'static str;
    fn to_value(&self) -> Value;
    /// None when the stored value has another type: the file was written by something else.
    fn from_value(value: Value) -> Option<Self>;
}

impl Field for Option<String> {
    const SQL: &'static str = "TEXT";
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(v) = value { Some(v) } else { None }
    }
}

impl Field for String {
    const SQL: &'static str = "TEXT";
    fn to_value(&self) -> Value {
        Value::Text(Some(self.clone()))
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(Some(v)) = value { Some(v) } else { None }
    }
}

impl Field for Option<i64> {
    const SQL: &'static str = "INTEGER";
    fn to_value(&self) -> Value {
        Value::Int(*self)
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Int(v) = value { Some(v) } else { None }
    }
}

impl Field for i64 {
    const SQL: &'static str = "INTEGER";
    fn to_value(&self) -> Value {
        Value::Int(Some(*self))
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Int(Some(v)) = value { Some(v) } else { None }
    }
}

impl Field for Option<f64> {
    const SQL: &'static str = "REAL";
    fn to_value(&self) -> Value {
        Value::Real(self.filter(|v| v.is_finite()))
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Real(v) = value { Some(v) } else { None }
    }
}

macro_rules! row {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }

        impl $name {
            /// (name, SQL type), in the order of the table.
            pub const COLUMNS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), <$type as Field>::SQL),)*];

            #[must_use]
            pub fn values(&self) -> Vec<Value> {
                vec![$(self.$field.to_value(),)*]
            }

            /// The row from values in column order; the name of the first column that does not fit otherwise.
            pub fn from_values(values: Vec<Value>) -> Result<$name, &'static str> {
                let mut values = values.into_iter();
                Ok($name { $($field: values.next().and_then(<$type as Field>::from_value).ok_or(stringify!($field))?,)* })
            }
        }
    };
}

row! {
    /// One call over all its legs.
    CallRow {
        call_id: String,
        /// Number of distinct facts joined. A higher one is a better informed row, never another opinion.
        revision: i64,
        /// `open`, `reconciled` (an end is known from the reconciler only) or `final`.
        finality: String,
        // Merge key: what the INVITE that made the call said of itself.
        source_kind: Option<String>,
        source: Option<String>,
        sip_call_id: Option<String>,
        from_tag: Option<String>,
        cseq: Option<i64>,
        first_leg: Option<String>,
        legs: String,
        leg_count: i64,
        /// JSON list of {kind, from, to}: parent, bridged_with, forked_from, transferred_from, retried_as.
        edges: String,
        tenant: Option<String>,
        direction: Option<String>,
        trunk_in: Option<String>,
        trunk_out: Option<String>,
        account: Option<String>,
        edge: Option<String>,
        node: Option<String>,
        engine: Option<String>,
        core_uuid: Option<String>,
        caller_raw: Option<String>,
        caller_e164: Option<String>,
        caller_display: Option<String>,
        caller_asserted: Option<String>,
        callee_raw: Option<String>,
        callee_e164: Option<String>,
        country: Option<String>,
        did: Option<String>,
        campaign: Option<String>,
        contact: Option<String>,
        campaign_attempt: Option<i64>,
        ivr_menu: Option<String>,
        ivr_version: Option<String>,
        /// JSON list of menu/node, in the order of the steps.
        ivr_path: String,
        ivr_exit: Option<String>,
        queue: Option<String>,
        wait_ms: Option<i64>,
        agent: Option<String>,
        transfers: i64,
        start_us: Option<i64>,
        ring_us: Option<i64>,
        answer_us: Option<i64>,
        end_us: Option<i64>,
        /// The end lies between these two; they differ only when it was reconciled.
        end_earliest_us: Option<i64>,
        end_latest_us: Option<i64>,
        pdd_ms: Option<i64>,
        ring_ms: Option<i64>,
        setup_ms: Option<i64>,
        talk_ms: Option<i64>,
        hold_ms: Option<i64>,
        total_ms: Option<i64>,
        billable_ms: Option<i64>,
        first_answered_leg: Option<String>,
        last_answered_leg: Option<String>,
        disposition: Option<String>,
        final_code: Option<i64>,
        final_phrase: Option<String>,
        q850: Option<i64>,
        hangup_cause: Option<String>,
        released_by: Option<String>,
        released_side: Option<String>,
        attempts: i64,
        challenges: i64,
        retries: i64,
        mos_in: Option<f64>,
        loss_in: Option<f64>,
        jitter_in_ms: Option<f64>,
        one_way_audio: Option<i64>,
        dtmf_count: i64,
        decision_rule: Option<String>,
        block_id: Option<String>,
        /// JSON list of the ids of blocks, limits and rules that decided about the call.
        decision_ids: String,
        fraud_score: Option<f64>,
        cost: Option<f64>,
        /// `edge`, `engine` or `edge,engine`.
        witnesses: String,
        /// `complete`, `one_witness`, `estimated` or `partial`.
        quality: String,
        /// JSON list of the names of fields that are estimates.
        estimated: String,
        /// JSON list of what does not fit together: leg_missing, witness_missing, clock_skew, truncated.
        flags: String,
        closed_by: Option<String>,
        first_event: Option<String>,
        last_event: Option<String>,
    }
}

row! {
    /// One leg: an attempt at the edge, the channel on the node that belongs to it, or both joined.
    LegRow {
        call_id: String,
        leg_id: String,
        revision: i64,
        finality: String,
        role: String,
        direction: Option<String>,
        parent_leg: Option<String>,
        previous_leg: Option<String>,
        retry_reason: Option<String>,
        attempt: Option<i64>,
        fork: Option<i64>,
        sip_call_id: Option<String>,
        from_tag: Option<String>,
        to_tag: Option<String>,
        cseq: Option<i64>,
        tenant: Option<String>,
        trunk_in: Option<String>,
        trunk_out: Option<String>,
        account: Option<String>,
        edge: Option<String>,
        node: Option<String>,
        engine: Option<String>,
        core_uuid: Option<String>,
        channel_uuid: Option<String>,
        caller_raw: Option<String>,
        caller_e164: Option<String>,
        caller_display: Option<String>,
        caller_asserted: Option<String>,
        callee_raw: Option<String>,
        callee_e164: Option<String>,
        dialled: Option<String>,
        callee_final: Option<String>,
        country: Option<String>,
        prefix: Option<String>,
        operator: Option<String>,
        invite_us: Option<i64>,
        trying_us: Option<i64>,
        ring_us: Option<i64>,
        early_media_us: Option<i64>,
        answer_us: Option<i64>,
        first_rtp_in_us: Option<i64>,
        first_rtp_out_us: Option<i64>,
        bye_us: Option<i64>,
        end_us: Option<i64>,
        end_earliest_us: Option<i64>,
        end_latest_us: Option<i64>,
        pdd_ms: Option<i64>,
        ring_ms: Option<i64>,
        setup_ms: Option<i64>,
        talk_ms: Option<i64>,
        hold_ms: Option<i64>,
        total_ms: Option<i64>,
        billable_ms: Option<i64>,
        disposition: Option<String>,
        final_code: Option<i64>,
        final_phrase: Option<String>,
        /// JSON list of the status codes of the branch, in order.
        codes: String,
        q850: Option<i64>,
        hangup_cause: Option<String>,
        /// JSON list of Reason texts.
        reasons: String,
        released_by: Option<String>,
        released_side: Option<String>,
        /// Which side of the proxy produced the final answer: edge, upstream or timeout.
        side: Option<String>,
        codec_in: Option<String>,
        codec_out: Option<String>,
        transcoded: Option<i64>,
        srtp: Option<String>,
        media_local: Option<String>,
        media_remote: Option<String>,
        mos_in: Option<f64>,
        quality_in: Option<f64>,
        loss_in: Option<f64>,
        burst_in: Option<f64>,
        jitter_in_ms: Option<f64>,
        mean_interval_ms: Option<f64>,
        packets_in: Option<i64>,
        packets_out: Option<i64>,
        bytes_in: Option<i64>,
        bytes_out: Option<i64>,
        rtcp_loss: Option<f64>,
        rtcp_rtt_ms: Option<f64>,
        one_way_audio: Option<i64>,
        dtmf_count: i64,
        /// JSON list.
        recordings: String,
        hangup_after_bridge: Option<i64>,
        retransmissions: Option<i64>,
        transport: Option<String>,
        tls: Option<String>,
        source_addr: Option<String>,
        target_addr: Option<String>,
        auth_user: Option<String>,
        attest: Option<String>,
        ua_caller: Option<String>,
        ua_callee: Option<String>,
        witnesses: String,
        quality: String,
        estimated: String,
        closed_by: Option<String>,
        first_event: Option<String>,
        last_event: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_the_way_through_values() {
        let row =
            CallRow { call_id: "c".into(), revision: 4, mos_in: Some(4.5), end_us: Some(7), ..CallRow::default() };
        assert_eq!(row.values().len(), CallRow::COLUMNS.len());
        assert_eq!(CallRow::from_values(row.values()), Ok(row));
    }

    #[test]
    fn a_column_of_another_type_is_named() {
        let mut values = LegRow::default().values();
        values[2] = Value::Text(Some("not a number".into()));
        assert_eq!(LegRow::from_values(values), Err("revision"));
    }

    #[test]
    fn a_number_that_is_not_finite_is_stored_as_unknown() {
        let row = LegRow { mos_in: Some(f64::NAN), ..LegRow::default() };
        assert!(row.values().contains(&Value::Real(None)));
    }
}
