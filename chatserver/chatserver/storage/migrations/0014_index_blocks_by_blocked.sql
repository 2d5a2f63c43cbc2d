-- Makes the blocks of a deleted account quick to find.
-- oldest code: 1
-- transaction: none

CREATE INDEX CONCURRENTLY IF NOT EXISTS blocks_blocked_id ON blocks (blocked_id);
