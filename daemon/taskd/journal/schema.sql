-- The journal: the one place where tasks live. Times are microseconds since the epoch in UTC, durations seconds.
-- A checksum is CRC-32 over the Python repr of the tuple of the columns it follows, in their order here.

CREATE TABLE batches (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    submitted_at  INTEGER NOT NULL,
    count         INTEGER NOT NULL,
    max_parallel  INTEGER,
    fail_fast     INTEGER NOT NULL,
    on_finish     TEXT NOT NULL,      -- names, one a line
    uid           INTEGER,
    checksum      INTEGER NOT NULL
) STRICT;

CREATE TABLE tasks (
    -- AUTOINCREMENT: an id is never used again, not even when the newest tasks have been forgotten.
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    -- what was asked for; never changes
    handler        TEXT NOT NULL,
    payload        TEXT NOT NULL,
    queue          TEXT NOT NULL,
    label          TEXT,
    timeout        REAL,
    backoff        REAL,
    max_attempts   INTEGER NOT NULL,
    earliest       INTEGER,
    fixed          INTEGER NOT NULL,  -- 1: earliest is a time of the calendar, 2: expires is one
    uniqueness     TEXT,
    depends_on     TEXT,              -- ids, with commas
    origin         INTEGER,
    schedule       TEXT,
    uid            INTEGER,
    gid            INTEGER,
    pid            INTEGER,
    user           TEXT,
    submitted_at   INTEGER NOT NULL,
    batch          INTEGER,
    lane           INTEGER NOT NULL,
    spec_checksum  INTEGER NOT NULL,
    -- its life; life_checksum covers the id too
    state          TEXT NOT NULL,
    attempt        INTEGER NOT NULL,
    interruptions  INTEGER NOT NULL,
    priority       INTEGER NOT NULL,
    not_before     INTEGER,
    expires        INTEGER,
    unmet          INTEGER NOT NULL,
    cancelling     INTEGER NOT NULL,
    reason         TEXT,
    message        TEXT,
    started_at     INTEGER,
    finished_at    INTEGER,
    life_checksum  INTEGER NOT NULL,
    -- CRC-32 of the payload, shifted by 31 bits, and its length: for finding live tasks with the same one, and for
    -- adding up what a user has. Never changes, and follows from the payload.
    fingerprint    INTEGER NOT NULL
) STRICT;

-- Every index ends with the id, as all do in SQLite: what has the same values is found in that order.
CREATE INDEX tasks_state ON tasks (state);
CREATE INDEX tasks_user ON tasks (uid, state);
CREATE INDEX tasks_labelled ON tasks (id, label) WHERE label IS NOT NULL;
CREATE INDEX tasks_queued ON tasks (queue, lane, priority DESC) WHERE state = 'queued';
CREATE INDEX tasks_scheduled ON tasks (not_before, id, queue) WHERE state = 'scheduled';
CREATE INDEX tasks_parked ON tasks (state, queue) WHERE state IN ('blocked', 'held');
CREATE INDEX tasks_live ON tasks (handler, fingerprint, uid) WHERE finished_at IS NULL;
CREATE INDEX tasks_expiring ON tasks (expires) WHERE expires IS NOT NULL AND finished_at IS NULL;
CREATE INDEX tasks_of_schedule ON tasks (schedule) WHERE schedule IS NOT NULL;
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_batch ON tasks (batch) WHERE batch IS NOT NULL;

-- Who still waits for whom. A row goes when that is over; a task's `unmet` counts its rows.
CREATE TABLE dependencies (
    task_id     INTEGER NOT NULL,
    depends_on  INTEGER NOT NULL,
    PRIMARY KEY (task_id, depends_on)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_wanted ON dependencies (depends_on, task_id);

-- The attempts that have ended. One that runs is its task's state: running, attempt N, started_at.
CREATE TABLE attempts (
    task_id      INTEGER NOT NULL,
    number       INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    finished_at  INTEGER NOT NULL,
    succeeded    INTEGER NOT NULL,
    reason       TEXT,
    message      TEXT,
    exit_status  INTEGER,
    signal       INTEGER,
    result       TEXT,
    error_type   TEXT,
    traceback    TEXT,
    stdout       BLOB NOT NULL,
    stderr       BLOB NOT NULL,
    truncated    INTEGER NOT NULL,
    cpu_seconds  REAL,
    max_rss      INTEGER,
    checksum     INTEGER NOT NULL,
    PRIMARY KEY (task_id, number)
) STRICT, WITHOUT ROWID;

-- Every change of a state, in order and without a gap: a row holds all of one commit.
CREATE TABLE changes (
    first     INTEGER PRIMARY KEY,    -- the number of its first
    count     INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    changes   TEXT NOT NULL,          -- JSON, a list for each
    checksum  INTEGER NOT NULL
) STRICT;

-- What requests with an idempotency key came to.
CREATE TABLE receipts (
    uid       INTEGER NOT NULL,       -- -1 is unknown
    key       TEXT NOT NULL,
    digest    TEXT NOT NULL,
    task_ids  TEXT NOT NULL,          -- with commas
    batch     INTEGER,
    at        INTEGER NOT NULL,
    checksum  INTEGER NOT NULL,
    PRIMARY KEY (uid, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX receipts_at ON receipts (at);

-- Queues that are not open, and how far schedules have come.
CREATE TABLE queues (
    name      TEXT PRIMARY KEY,
    state     TEXT NOT NULL,
    checksum  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE schedules (
    name      TEXT PRIMARY KEY,
    last      INTEGER NOT NULL,
    paused    INTEGER NOT NULL,
    checksum  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
