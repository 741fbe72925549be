-- Analytics' own records and the minutes counted from them. Times are UTC microseconds.

CREATE TABLE records (
    call_id TEXT NOT NULL PRIMARY KEY,
    started_us INTEGER NOT NULL,
    minute_us INTEGER NOT NULL,
    trunk TEXT NOT NULL,
    node TEXT,
    -- attempt, blocked or limited
    class TEXT NOT NULL,
    -- open, answered, busy, no_answer, cancelled, rejected or failed
    outcome TEXT NOT NULL,
    answered INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    pdd_us INTEGER,
    setup_us INTEGER,
    talk_us INTEGER,
    -- What the columns above were measured from: JSON, one piece per (CSeq, attempt, event).
    pieces TEXT NOT NULL
);

CREATE INDEX records_by_minute ON records (minute_us);

-- Minutes whose records changed and that have not been counted again.
CREATE TABLE dirty (minute_us INTEGER NOT NULL PRIMARY KEY) WITHOUT ROWID;

-- Definitions: core/rollup.rs. `scope` is all, trunk or node; `id` the trunk or node.
CREATE TABLE minutes (
    minute_us INTEGER NOT NULL,
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    answered INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    busy INTEGER NOT NULL,
    no_answer INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    blocked INTEGER NOT NULL,
    limited INTEGER NOT NULL,
    asr_percent REAL,
    talk_ms INTEGER NOT NULL,
    acd_ms REAL,
    pdd_count INTEGER NOT NULL,
    pdd_avg_ms REAL,
    pdd_p50_ms REAL,
    pdd_p95_ms REAL,
    setup_avg_ms REAL,
    PRIMARY KEY (minute_us, scope, id)
) WITHOUT ROWID;

CREATE TABLE consumer_offsets (
    topic TEXT NOT NULL,
    shard INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, shard)
) WITHOUT ROWID;

CREATE VIEW metrics_by_minute AS
SELECT
    minute_us,
    scope,
    CASE scope WHEN 'trunk' THEN id END AS trunk,
    CASE scope WHEN 'node' THEN id END AS node,
    attempts, answered, finished, busy, no_answer, cancelled, rejected, failed, blocked, limited,
    asr_percent, talk_ms, acd_ms, pdd_count, pdd_avg_ms, pdd_p50_ms, pdd_p95_ms, setup_avg_ms
FROM minutes;
