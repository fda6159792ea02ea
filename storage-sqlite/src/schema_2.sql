-- Version 2. The metainfo of torrents, as it came.
CREATE TABLE torrent (
    key BLOB PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
);
