-- Raw sip.transactions: one row per event, for 30 days. Times are UTC microseconds; -1 and '' mean unknown.
-- The key finds a trunk's hour; rows of a repeated batch with other borders meet by event_id and the last one stays.
CREATE TABLE IF NOT EXISTS sip_transactions
(
    event_id String CODEC(ZSTD(1)),
    event_type LowCardinality(String),
    call_root_id String CODEC(ZSTD(1)),
    leg_id String CODEC(ZSTD(1)),
    parent_leg_id String CODEC(ZSTD(1)),
    edge_id LowCardinality(String),
    tenant_id LowCardinality(String),
    occurred_us Int64 CODEC(Delta, ZSTD(1)),
    received_us Int64 CODEC(Delta, ZSTD(1)),
    source_side LowCardinality(String),
    source_id LowCardinality(String),
    target_side LowCardinality(String),
    target_id LowCardinality(String),
    attempt Int32,
    method LowCardinality(String),
    sip_call_id String CODEC(ZSTD(1)),
    cseq UInt32,
    from_tag String CODEC(ZSTD(1)),
    caller String CODEC(ZSTD(1)),
    callee String CODEC(ZSTD(1)),
    callee_country LowCardinality(String),
    source_ip LowCardinality(String),
    user_agent LowCardinality(String),
    status UInt16,
    produced_by LowCardinality(String),
    cancelled Bool,
    challenge Bool,
    retransmits_in Int32,
    retransmits_out Int32,
    t_first_180_us Int64,
    t_first_18x_us Int64,
    t_first_183_sdp_us Int64,
    t_final_us Int64,
    talk_us Int64,
    released_by LowCardinality(String),
    reason LowCardinality(String),
    block_id String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(fromUnixTimestamp64Micro(occurred_us))
ORDER BY (source_id, toStartOfHour(fromUnixTimestamp64Micro(occurred_us)), call_root_id, event_id)
TTL toDateTime(fromUnixTimestamp64Micro(occurred_us)) + INTERVAL 30 DAY
-- As many tokens as a day of batches at 1,000 calls/s.
SETTINGS non_replicated_deduplication_window = 10000;
