-- Version 1. `value` is what the engine reads; every other column is derived from it at each write, for people.
CREATE TABLE meta (
    key BLOB PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE download (
    key BLOB PRIMARY KEY NOT NULL,
    value BLOB NOT NULL,
    id TEXT,
    url TEXT,
    file_name TEXT,
    save_dir TEXT,
    state TEXT,
    error TEXT,
    added_ms INTEGER,
    completed_ms INTEGER
) WITHOUT ROWID;

CREATE TABLE progress (
    key BLOB PRIMARY KEY NOT NULL,
    value BLOB NOT NULL,
    file_name TEXT,
    bytes_done INTEGER,
    bytes_total INTEGER
) WITHOUT ROWID;

-- What was written but perhaps not synced: one row, not kept across a power cut.
CREATE TABLE note (
    only INTEGER PRIMARY KEY NOT NULL CHECK (only = 1),
    value BLOB NOT NULL
);

-- What people look up: SELECT * FROM downloads.
CREATE VIEW downloads AS
SELECT
    d.id,
    coalesce(p.file_name, d.file_name) AS name,
    d.state,
    CASE d.state WHEN 'completed' THEN coalesce(p.bytes_total, p.bytes_done) ELSE coalesce(p.bytes_done, 0) END
        AS bytes_done,
    p.bytes_total,
    d.error,
    datetime(d.added_ms / 1000, 'unixepoch') AS added_utc,
    datetime(d.completed_ms / 1000, 'unixepoch') AS completed_utc,
    d.save_dir,
    d.url
FROM download d LEFT JOIN progress p ON p.key = d.key
ORDER BY d.added_ms;
