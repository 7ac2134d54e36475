PRAGMA application_id = 1952543595;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES(1,1,1795580903991285,1795580904116047,1,NULL,NULL,NULL,NULL,'null',NULL,NULL,X'',X'',0,5.89499999999999746425e-03,13428,882953166);
INSERT INTO "attempts" VALUES(2,1,1795580904004693,1795580904022520,1,NULL,NULL,0,NULL,NULL,NULL,NULL,X'',X'',0,0.001199,NULL,898961345);
INSERT INTO "attempts" VALUES(3,1,1795580904036112,1795580904135721,0,'exception','as it should',NULL,NULL,NULL,'RuntimeError','Traceback (most recent call last):
  File "/var/tmp/tmpxavk92s7/noting.py", line 12, in fail_first
    raise RuntimeError("as it should")
RuntimeError: as it should
',X'',X'',0,7.94299999999999867261e-03,13792,272150738);
INSERT INTO "attempts" VALUES(3,2,1795580904199155,1795580904206957,1,NULL,NULL,NULL,NULL,'null',NULL,NULL,X'',X'',0,7.30000000000036175507e-05,13792,1024650728);
INSERT INTO "attempts" VALUES(4,1,1795580904216856,1795580904219808,0,'exception','as it should',NULL,NULL,NULL,'RuntimeError','Traceback (most recent call last):
  File "/var/tmp/tmpxavk92s7/noting.py", line 12, in fail_first
    raise RuntimeError("as it should")
RuntimeError: as it should
',X'',X'',0,4.18999999999995764721e-04,13792,2591244788);
INSERT INTO "attempts" VALUES(10,1,1795580904252871,1795580904256503,1,NULL,NULL,NULL,NULL,'null',NULL,NULL,X'',X'',0,5.10000000000024322766e-05,13428,1472480208);
INSERT INTO "attempts" VALUES(11,1,1795580904252871,1795580904350997,1,NULL,NULL,NULL,NULL,'null',NULL,NULL,X'',X'',0,3.46600000000000380007e-03,13196,3369268987);
INSERT INTO "attempts" VALUES(12,1,1795580904252871,1795580904368240,1,NULL,NULL,NULL,NULL,'null',NULL,NULL,X'',X'',0,3.55500000000000260236e-03,13244,926952884);
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
INSERT INTO "batches" VALUES(1,1795580904252871,3,NULL,0,'',0,4241637960);
CREATE TABLE changes (
    first     INTEGER PRIMARY KEY,    -- the number of its first
    count     INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    changes   TEXT NOT NULL,          -- JSON, a list for each
    checksum  INTEGER NOT NULL
) STRICT;
INSERT INTO "changes" VALUES(1,2,1795580903991285,'[[1, "queued", 0, null, "function", "default", null, null, 0, null], [1, "running", 1, null, "function", "default", null, null, 0, null]]',2060936577);
INSERT INTO "changes" VALUES(3,2,1795580904004693,'[[2, "queued", 0, null, "command", "default", null, "recorded", 0, null], [2, "running", 1, null, "command", "default", null, "recorded", 0, null]]',3617887355);
INSERT INTO "changes" VALUES(5,1,1795580904022520,'[[2, "succeeded", 1, null, "command", "default", null, "recorded", 0, null]]',2399610793);
INSERT INTO "changes" VALUES(6,2,1795580904036112,'[[3, "queued", 0, null, "retried", "default", null, "recorded", 0, null], [3, "running", 1, null, "retried", "default", null, "recorded", 0, null]]',796235523);
INSERT INTO "changes" VALUES(8,1,1795580904116047,'[[1, "succeeded", 1, null, "function", "default", null, null, 0, null]]',227634054);
INSERT INTO "changes" VALUES(9,1,1795580904135721,'[[3, "scheduled", 1, "exception", "retried", "default", null, "recorded", 0, null]]',115797433);
INSERT INTO "changes" VALUES(10,2,1795580904199155,'[[3, "queued", 1, null, "retried", "default", null, "recorded", 0, null], [3, "running", 2, null, "retried", "default", null, "recorded", 0, null]]',571684010);
INSERT INTO "changes" VALUES(12,1,1795580904206957,'[[3, "succeeded", 2, null, "retried", "default", null, "recorded", 0, null]]',3003566361);
INSERT INTO "changes" VALUES(13,2,1795580904216856,'[[4, "queued", 0, null, "retried", "default", null, "recorded", 0, null], [4, "running", 1, null, "retried", "default", null, "recorded", 0, null]]',3731856823);
INSERT INTO "changes" VALUES(15,1,1795580904219808,'[[4, "failed", 1, "exception", "retried", "default", null, "recorded", 0, null]]',1989703516);
INSERT INTO "changes" VALUES(16,1,1795580904228274,'[[5, "queued", 0, null, "parked", "parked", null, null, 0, null]]',133406182);
INSERT INTO "changes" VALUES(17,1,1795580904239229,'[[6, "blocked", 0, null, "function", "default", null, null, 0, null]]',1661457633);
INSERT INTO "changes" VALUES(18,1,1795580904242339,'[[7, "scheduled", 0, null, "function", "default", null, null, 0, null]]',4095603055);
INSERT INTO "changes" VALUES(19,1,1795580904244513,'[[8, "scheduled", 0, null, "function", "default", null, null, 0, null]]',2021494356);
INSERT INTO "changes" VALUES(20,1,1795580904246480,'[[9, "scheduled", 0, null, "function", "default", null, null, 0, null]]',2065201611);
INSERT INTO "changes" VALUES(21,1,1795580904248613,'[[8, "held", 0, null, "function", "default", null, null, 0, null]]',897156590);
INSERT INTO "changes" VALUES(22,1,1795580904250780,'[[9, "cancelled", 0, null, "function", "default", null, null, 0, null]]',2986005606);
INSERT INTO "changes" VALUES(23,6,1795580904252871,'[[10, "queued", 0, null, "function", "default", 1, null, 0, null], [11, "queued", 0, null, "function", "default", 1, null, 0, null], [12, "queued", 0, null, "function", "default", 1, null, 0, null], [10, "running", 1, null, "function", "default", 1, null, 0, null], [11, "running", 1, null, "function", "default", 1, null, 0, null], [12, "running", 1, null, "function", "default", 1, null, 0, null]]',696854718);
INSERT INTO "changes" VALUES(29,1,1795580904256503,'[[10, "succeeded", 1, null, "function", "default", 1, null, 0, null]]',685096333);
INSERT INTO "changes" VALUES(30,1,1795580904350997,'[[11, "succeeded", 1, null, "function", "default", 1, null, 0, null]]',3185324768);
INSERT INTO "changes" VALUES(31,1,1795580904368240,'[[12, "succeeded", 1, null, "function", "default", 1, null, 0, null]]',1512544514);
INSERT INTO "changes" VALUES(32,2,1795580904371338,'[[13, "queued", 0, null, "long", "default", null, null, 0, null], [13, "running", 1, null, "long", "default", null, null, 0, null]]',4245989550);
CREATE TABLE dependencies (
    task_id     INTEGER NOT NULL,
    depends_on  INTEGER NOT NULL,
    PRIMARY KEY (task_id, depends_on)
) STRICT, WITHOUT ROWID;
INSERT INTO "dependencies" VALUES(6,5);
CREATE TABLE queues (
    name      TEXT PRIMARY KEY,
    state     TEXT NOT NULL,
    checksum  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "queues" VALUES('parked','paused',769954096);
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
INSERT INTO "receipts" VALUES(0,'recorded','12dd2778a77ee083a1bfdc4d6cddf9c58c35ad4b5fc652ab9a21972beca66276','1',NULL,1795580903991285,2332195382);
CREATE TABLE schedules (
    name      TEXT PRIMARY KEY,
    last      INTEGER NOT NULL,
    paused    INTEGER NOT NULL,
    checksum  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "schedules" VALUES('nightly',1795580903935678,0,3333493891);
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
INSERT INTO "tasks" VALUES(1,'function','"first"','default',NULL,NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580903991285,NULL,0,3015258170,'succeeded',1,0,0,NULL,NULL,0,0,NULL,NULL,1795580903991285,1795580904116047,3927068123,4844086338036695047);
INSERT INTO "tasks" VALUES(2,'command','"a command"','default','recorded',NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904004693,NULL,0,2049663238,'succeeded',1,0,0,NULL,NULL,0,0,NULL,NULL,1795580904004693,1795580904022520,1661415564,8460543616966721547);
INSERT INTO "tasks" VALUES(3,'retried','"a retried"','default','recorded',NULL,NULL,3,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904036112,NULL,0,795651126,'succeeded',2,0,0,1795580904196836,NULL,0,0,NULL,NULL,1795580904199155,1795580904206957,3443407014,8691136814053851147);
INSERT INTO "tasks" VALUES(4,'retried','"a retried&retries=0"','default','recorded',NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904216856,NULL,0,1195755181,'failed',1,0,0,NULL,NULL,0,0,NULL,NULL,1795580904216856,1795580904219808,1030793398,2960677162945871893);
INSERT INTO "tasks" VALUES(5,'parked','"queued"','parked',NULL,NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904228274,NULL,0,969134208,'queued',0,0,0,NULL,NULL,0,0,NULL,NULL,NULL,NULL,4214589630,3184002983310393352);
INSERT INTO "tasks" VALUES(6,'function','"blocked"','default',NULL,NULL,NULL,1,NULL,0,NULL,'5',NULL,NULL,0,0,16910,'root',1795580904239229,NULL,0,3510734445,'blocked',0,0,0,NULL,NULL,1,0,NULL,NULL,NULL,NULL,2219241894,7103879343557836809);
INSERT INTO "tasks" VALUES(7,'function','"scheduled"','default',NULL,NULL,NULL,1,1795580934242271,0,'payload',NULL,NULL,NULL,0,0,16910,'root',1795580904242339,NULL,0,2133445122,'scheduled',0,0,5,1795580934242271,NULL,0,0,NULL,NULL,NULL,NULL,2060809559,3393084379281489931);
INSERT INTO "tasks" VALUES(8,'function','"held"','default',NULL,NULL,NULL,1,1795584504244453,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904244513,NULL,0,893235338,'held',0,0,0,1795584504244453,NULL,0,0,NULL,NULL,NULL,NULL,2234654876,7318474257766285318);
INSERT INTO "tasks" VALUES(9,'function','"cancelled"','default',NULL,NULL,NULL,1,1795584504246426,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904246480,NULL,0,1519970732,'cancelled',0,0,0,1795584504246426,NULL,0,0,NULL,NULL,NULL,1795580904250780,4011101844,3040898995892256779);
INSERT INTO "tasks" VALUES(10,'function','0','default',NULL,NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904252871,1,0,3897342687,'succeeded',1,0,0,NULL,NULL,0,0,NULL,NULL,1795580904252871,1795580904256503,3898424158,8821970648990482433);
INSERT INTO "tasks" VALUES(11,'function','1','default',NULL,NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904252871,1,0,3791188273,'succeeded',1,0,0,NULL,NULL,0,0,NULL,NULL,1795580904252871,1795580904350997,50770694,4750866441551478785);
INSERT INTO "tasks" VALUES(12,'function','2','default',NULL,NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904252871,1,0,4213452035,'succeeded',1,0,0,NULL,NULL,0,0,NULL,NULL,1795580904252871,1795580904368240,3674363708,966830289034674177);
INSERT INTO "tasks" VALUES(13,'long','"running"','default',NULL,NULL,NULL,1,NULL,0,NULL,NULL,NULL,NULL,0,0,16910,'root',1795580904371338,NULL,0,491063364,'running',1,0,0,NULL,NULL,0,0,NULL,NULL,1795580904371338,NULL,3481964139,8842335618676555785);
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
CREATE INDEX dependencies_wanted ON dependencies (depends_on, task_id);
CREATE INDEX receipts_at ON receipts (at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('tasks',13);
INSERT INTO "sqlite_sequence" VALUES('batches',1);
COMMIT;
