-- The call log. `calls` and `legs` are derived: both can be rebuilt from `call_state`, and that from the topics.
-- Times are UTC microseconds, durations milliseconds. The columns are those of core/row.rs, in the same order; a test compares.
-- As in migrations/sqlite, in the schema that the connection searches. Ids sort by bytes ("C"), so both stores export in one order.

CREATE TABLE calls (
    call_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    finality TEXT NOT NULL,
    source_kind TEXT,
    source TEXT,
    sip_call_id TEXT,
    from_tag TEXT,
    cseq BIGINT,
    first_leg TEXT,
    legs TEXT NOT NULL,
    leg_count BIGINT NOT NULL,
    edges TEXT NOT NULL,
    tenant TEXT,
    direction TEXT,
    trunk_in TEXT,
    trunk_out TEXT,
    account TEXT,
    edge TEXT,
    node TEXT,
    engine TEXT,
    core_uuid TEXT,
    caller_raw TEXT,
    caller_e164 TEXT,
    caller_display TEXT,
    caller_asserted TEXT,
    callee_raw TEXT,
    callee_e164 TEXT,
    country TEXT,
    did TEXT,
    campaign TEXT,
    contact TEXT,
    campaign_attempt BIGINT,
    ivr_menu TEXT,
    ivr_version TEXT,
    ivr_path TEXT NOT NULL,
    ivr_exit TEXT,
    queue TEXT,
    wait_ms BIGINT,
    agent TEXT,
    transfers BIGINT NOT NULL,
    start_us BIGINT,
    ring_us BIGINT,
    answer_us BIGINT,
    end_us BIGINT,
    end_earliest_us BIGINT,
    end_latest_us BIGINT,
    pdd_ms BIGINT,
    ring_ms BIGINT,
    setup_ms BIGINT,
    talk_ms BIGINT,
    hold_ms BIGINT,
    total_ms BIGINT,
    billable_ms BIGINT,
    first_answered_leg TEXT,
    last_answered_leg TEXT,
    disposition TEXT,
    final_code BIGINT,
    final_phrase TEXT,
    q850 BIGINT,
    hangup_cause TEXT,
    released_by TEXT,
    released_side TEXT,
    attempts BIGINT NOT NULL,
    challenges BIGINT NOT NULL,
    retries BIGINT NOT NULL,
    mos_in DOUBLE PRECISION,
    loss_in DOUBLE PRECISION,
    jitter_in_ms DOUBLE PRECISION,
    one_way_audio BIGINT,
    dtmf_count BIGINT NOT NULL,
    decision_rule TEXT,
    block_id TEXT,
    decision_ids TEXT NOT NULL,
    fraud_score DOUBLE PRECISION,
    cost DOUBLE PRECISION,
    witnesses TEXT NOT NULL,
    quality TEXT NOT NULL,
    estimated TEXT NOT NULL,
    flags TEXT NOT NULL,
    closed_by TEXT,
    first_event TEXT,
    last_event TEXT,
    PRIMARY KEY (call_id)
);

CREATE TABLE legs (
    call_id TEXT COLLATE "C" NOT NULL,
    leg_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    finality TEXT NOT NULL,
    role TEXT NOT NULL,
    direction TEXT,
    parent_leg TEXT,
    previous_leg TEXT,
    retry_reason TEXT,
    attempt BIGINT,
    fork BIGINT,
    sip_call_id TEXT,
    from_tag TEXT,
    to_tag TEXT,
    cseq BIGINT,
    tenant TEXT,
    trunk_in TEXT,
    trunk_out TEXT,
    account TEXT,
    edge TEXT,
    node TEXT,
    engine TEXT,
    core_uuid TEXT,
    channel_uuid TEXT,
    caller_raw TEXT,
    caller_e164 TEXT,
    caller_display TEXT,
    caller_asserted TEXT,
    callee_raw TEXT,
    callee_e164 TEXT,
    dialled TEXT,
    callee_final TEXT,
    country TEXT,
    prefix TEXT,
    operator TEXT,
    invite_us BIGINT,
    trying_us BIGINT,
    ring_us BIGINT,
    early_media_us BIGINT,
    answer_us BIGINT,
    first_rtp_in_us BIGINT,
    first_rtp_out_us BIGINT,
    bye_us BIGINT,
    end_us BIGINT,
    end_earliest_us BIGINT,
    end_latest_us BIGINT,
    pdd_ms BIGINT,
    ring_ms BIGINT,
    setup_ms BIGINT,
    talk_ms BIGINT,
    hold_ms BIGINT,
    total_ms BIGINT,
    billable_ms BIGINT,
    disposition TEXT,
    final_code BIGINT,
    final_phrase TEXT,
    codes TEXT NOT NULL,
    q850 BIGINT,
    hangup_cause TEXT,
    reasons TEXT NOT NULL,
    released_by TEXT,
    released_side TEXT,
    side TEXT,
    codec_in TEXT,
    codec_out TEXT,
    transcoded BIGINT,
    srtp TEXT,
    media_local TEXT,
    media_remote TEXT,
    mos_in DOUBLE PRECISION,
    quality_in DOUBLE PRECISION,
    loss_in DOUBLE PRECISION,
    burst_in DOUBLE PRECISION,
    jitter_in_ms DOUBLE PRECISION,
    mean_interval_ms DOUBLE PRECISION,
    packets_in BIGINT,
    packets_out BIGINT,
    bytes_in BIGINT,
    bytes_out BIGINT,
    rtcp_loss DOUBLE PRECISION,
    rtcp_rtt_ms DOUBLE PRECISION,
    one_way_audio BIGINT,
    dtmf_count BIGINT NOT NULL,
    recordings TEXT NOT NULL,
    hangup_after_bridge BIGINT,
    retransmissions BIGINT,
    transport TEXT,
    tls TEXT,
    source_addr TEXT,
    target_addr TEXT,
    auth_user TEXT,
    attest TEXT,
    ua_caller TEXT,
    ua_callee TEXT,
    witnesses TEXT NOT NULL,
    quality TEXT NOT NULL,
    estimated TEXT NOT NULL,
    closed_by TEXT,
    first_event TEXT,
    last_event TEXT,
    PRIMARY KEY (call_id, leg_id)
);

CREATE INDEX calls_by_start ON calls (start_us);
-- Hashes: whatever a stranger sends as its Call-ID, it fits; a sorted index refuses texts of more than 2,700 bytes.
CREATE INDEX calls_by_sip_call_id ON calls USING hash (sip_call_id);
CREATE INDEX calls_by_caller ON calls (caller_e164, start_us) WHERE caller_e164 IS NOT NULL;
CREATE INDEX calls_by_callee ON calls (callee_e164, start_us) WHERE callee_e164 IS NOT NULL;
CREATE INDEX calls_open ON calls (call_id) WHERE finality = 'open';
CREATE INDEX legs_by_sip_call_id ON legs USING hash (sip_call_id);

-- What the rows were derived from: a JSON array of compact facts, one per (call, logical id).
CREATE TABLE call_state (
    call_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    -- Hash of the record that was last put into the outbox; null while the call has not been published.
    published TEXT,
    facts TEXT NOT NULL
);

-- Written in the transaction that writes the rows, so a crash can neither skip nor double. The position in the log's own
-- consumer group is a hint for where to resume.
CREATE TABLE consumer_offsets (
    topic TEXT COLLATE "C" NOT NULL,
    shard BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, shard)
);

-- Records to publish on cdr.calls and cdr.legs, queued with the rows and deleted once the log has them.
CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic TEXT COLLATE "C" NOT NULL,
    payload TEXT NOT NULL
);

-- What the reconciler knows of each node, so that a restart does not forget a node that died meanwhile.
CREATE TABLE nodes_seen (
    node TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    core_uuid TEXT,
    last_proof_us BIGINT NOT NULL,
    heartbeat_ms BIGINT
);

CREATE VIEW calls_view AS SELECT * FROM calls;
CREATE VIEW legs_view AS SELECT * FROM legs;

-- One row per thing that a witness said about a call, for the ladder. Always filter by call_id.
CREATE VIEW events_view AS
SELECT
    s.call_id AS call_id,
    (f.value ->> 'at')::bigint AS at_us,
    f.value ->> 'kind' AS kind,
    f.value ->> 'what' AS what,
    f.value ->> 'by' AS producer,
    f.value ->> 'event' AS event_id,
    f.value::text AS body
FROM call_state s, json_array_elements(s.facts::json) AS f (value);
