-- One row: where the store stands. Kept beside the data so that a cut-off end of the log shows.
CREATE TABLE progress (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    revision  INTEGER NOT NULL,   -- last committed transaction
    compacted INTEGER NOT NULL,   -- history up to here has been dropped
    log_seq   INTEGER NOT NULL,   -- last record of the log
    log_hash  BLOB    NOT NULL    -- and its hash
) STRICT;
INSERT INTO progress VALUES (1, 0, 0, 0, zeroblob(32));

-- The present state. Times are microseconds since 1970.
CREATE TABLE entries (
    key      TEXT    NOT NULL UNIQUE,
    value    BLOB    NOT NULL,
    revision INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    expires  INTEGER
) STRICT;
CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires IS NOT NULL;

-- What each transaction did, for watchers that resume. A deletion has no value.
CREATE TABLE history (
    id       INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    value    BLOB,
    created  INTEGER,
    expires  INTEGER
) STRICT;
CREATE INDEX history_by_revision ON history (revision);

-- The event log.
CREATE TABLE records (
    seq  INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    name TEXT    NOT NULL,
    code TEXT    NOT NULL,
    body BLOB    NOT NULL,
    hash BLOB    NOT NULL
) STRICT;
CREATE INDEX records_by_time ON records (time);
CREATE INDEX records_by_name ON records (name, seq);
