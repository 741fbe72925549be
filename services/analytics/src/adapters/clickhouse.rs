//! Raw `sip.transactions` in ClickHouse, through the official client.
//!
//! The table is `clickhouse/0001_sip_transactions.sql`; its columns are the fields of [`SipRow`], in any order (a test compares).
//! An insert carries the batch's token; rows that come twice in other batches meet in the table's `ReplacingMergeTree`.

use ::clickhouse::sql::Identifier;
use ::clickhouse::{Client, Row};
use async_trait::async_trait;
use schemas::{Event, SipTransaction};
use serde::{Deserialize, Serialize};

use crate::adapters::sink::{RawBatch, Sink};
use crate::config::ClickHouse;
use crate::error::SinkError;

pub const TABLE: &str = "sip_transactions";

/// One event. Times are UTC microseconds, `t_…` microseconds after receipt; −1 and the empty text mean unknown, because a nullable
/// column costs ClickHouse a second file.
#[derive(Debug, Clone, Default, PartialEq, Row, Serialize, Deserialize)]
pub struct SipRow {
    pub event_id: String,
    pub event_type: String,
    pub call_root_id: String,
    pub leg_id: String,
    pub parent_leg_id: String,
    pub edge_id: String,
    pub tenant_id: String,
    pub occurred_us: i64,
    pub received_us: i64,
    pub source_side: String,
    pub source_id: String,
    pub target_side: String,
    pub target_id: String,
    pub attempt: i32,
    pub method: String,
    pub sip_call_id: String,
    pub cseq: u32,
    pub from_tag: String,
    pub caller: String,
    pub callee: String,
    pub callee_country: String,
    pub source_ip: String,
    pub user_agent: String,
    pub status: u16,
    pub produced_by: String,
    pub cancelled: bool,
    pub challenge: bool,
    pub retransmits_in: i32,
    pub retransmits_out: i32,
    pub t_first_180_us: i64,
    pub t_first_18x_us: i64,
    pub t_first_183_sdp_us: i64,
    pub t_final_us: i64,
    pub talk_us: i64,
    pub released_by: String,
    pub reason: String,
    pub block_id: String,
}

impl From<&SipTransaction> for SipRow {
    fn from(e: &SipTransaction) -> SipRow {
        let own = |t: &Option<String>| t.clone().unwrap_or_default();
        let at = |t: Option<i64>| t.unwrap_or(-1);
        let parties = e.parties.clone().unwrap_or_default();
        let timing = e.timing.clone().unwrap_or_default();
        let outcome = e.outcome.clone().unwrap_or_default();
        let decision = e.decision.clone().unwrap_or_default();
        let dialog = e.dialog.clone().unwrap_or_default();
        let branch = e.branches.iter().find(|b| b.leg_id == e.leg_id);
        SipRow {
            event_id: e.envelope.event_id(SipTransaction::TOPIC.name),
            event_type: e.event_type.clone(),
            call_root_id: e.call_root_id.clone(),
            leg_id: e.leg_id.clone(),
            parent_leg_id: own(&e.parent_leg_id),
            edge_id: e.edge_id.clone(),
            tenant_id: own(&e.envelope.tenant_id),
            occurred_us: e.occurred_us,
            received_us: at(timing.received_us),
            source_side: e.source_side.clone(),
            source_id: e.source_id.clone(),
            target_side: branch.map_or_else(|| own(&decision.chosen_side), |b| b.target_side.clone()),
            target_id: branch.map_or_else(|| own(&decision.chosen_id), |b| b.target_id.clone()),
            attempt: e.attempt,
            method: e.identity.method.clone(),
            sip_call_id: e.identity.call_id.clone(),
            cseq: e.identity.cseq,
            from_tag: e.identity.from_tag.clone(),
            caller: parties.caller_e164.or(parties.caller_raw).unwrap_or_default(),
            callee: parties.callee_e164.or(parties.callee_raw).unwrap_or_default(),
            callee_country: own(&parties.callee_country),
            source_ip: e.transport.as_ref().map(|t| own(&t.source_ip)).unwrap_or_default(),
            user_agent: e.headers.as_ref().map(|h| own(&h.user_agent)).unwrap_or_default(),
            status: outcome.status.unwrap_or(0),
            produced_by: own(&outcome.produced_by),
            cancelled: outcome.cancelled,
            challenge: outcome.challenge,
            retransmits_in: outcome.retransmits_in,
            retransmits_out: outcome.retransmits_out,
            t_first_180_us: at(timing.t_first_180_us),
            t_first_18x_us: at(timing.t_first_18x_us),
            t_first_183_sdp_us: at(timing.t_first_183_sdp_us),
            t_final_us: at(timing.t_final_us),
            talk_us: at(dialog.talk_us),
            released_by: own(&dialog.released_by),
            reason: own(&decision.reason),
            block_id: own(&decision.block_id),
        }
    }
}

/// The table's statement, which names no database.
const TABLE_SQL: &str = include_str!("../../clickhouse/0001_sip_transactions.sql");

fn client(settings: &ClickHouse) -> Client {
    Client::default()
        .with_url(&settings.url)
        .with_user(&settings.user)
        .with_password(settings.password.expose())
        .with_validation(settings.validate)
}

/// Makes the database and the table where they are missing.
pub async fn migrate(settings: &ClickHouse) -> Result<(), ::clickhouse::error::Error> {
    let client = client(settings);
    client.query("CREATE DATABASE IF NOT EXISTS ?").bind(Identifier(&settings.database)).execute().await?;
    client.with_database(&settings.database).query(TABLE_SQL).execute().await
}

pub struct ClickHouseSink {
    client: Client,
}

impl ClickHouseSink {
    #[must_use]
    pub fn new(settings: &ClickHouse) -> ClickHouseSink {
        ClickHouseSink { client: client(settings).with_database(&settings.database) }
    }
}

#[async_trait]
impl Sink for ClickHouseSink {
    async fn write(&mut self, batch: &RawBatch) -> Result<(), SinkError> {
        let token = batch.span.token();
        let sent = async {
            let client = self.client.clone().with_setting("insert_deduplication_token", &token);
            let mut insert = client.insert::<SipRow>(TABLE).await?;
            for row in &batch.rows {
                insert.write(row).await?;
            }
            insert.end().await
        };
        sent.await.map_err(|source| SinkError { token: token.clone(), source })
    }
}
