-- Makes room for how far the search for messages older than the retention has come.
-- oldest code: 1

CREATE TABLE retention_walk (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The last chat that was looked at.
    after_chat_id bigint NOT NULL DEFAULT 0,
    -- The retention of this walk: with another one, a new walk begins at once.
    seconds       integer,
    began_at      timestamptz NOT NULL DEFAULT '-infinity',
    is_over       boolean NOT NULL DEFAULT true
);
INSERT INTO retention_walk DEFAULT VALUES;
