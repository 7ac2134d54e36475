-- The journal: the one place where tasks live. Times are microseconds since the epoch in UTC, durations seconds.
-- A checksum is CRC-32 over the Python repr of the tuple of the columns it follows, in their order here.

CREATE TABLE batches (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    submitted_at  INTEGER NOT NULL,
    count         INTEGER NOT NULL,
    max_parallel  INTEGER,
    fail_fast     INTEGER NOT NULL,
    checksum      INTEGER NOT NULL
) STRICT;

CREATE TABLE tasks (
    -- AUTOINCREMENT: an id is never used again, not even when the newest tasks have been forgotten.
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    -- what was asked for; never changes
    handler        TEXT NOT NULL,
    payload        TEXT NOT NULL,
    queue          TEXT NOT NULL,
    priority       INTEGER NOT NULL,
    label          TEXT,
    timeout        REAL,
    max_attempts   INTEGER NOT NULL,
    earliest       INTEGER,
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
    not_before     INTEGER,
    started_at     INTEGER,
    finished_at    INTEGER,
    life_checksum  INTEGER NOT NULL
) STRICT;

CREATE INDEX tasks_queued ON tasks (queue, lane, priority DESC, id) WHERE state = 'queued';
CREATE INDEX tasks_scheduled ON tasks (not_before, id) WHERE state = 'scheduled';
CREATE INDEX tasks_running ON tasks (id) WHERE state = 'running';
CREATE INDEX tasks_finished ON tasks (finished_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_batch ON tasks (batch, id) WHERE batch IS NOT NULL;

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
