-- Makes the rows about a message quick to find: they go with it.
-- oldest code: 1
-- transaction: none

CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_target_seq ON messages (chat_id, target_seq) WHERE target_seq IS NOT NULL;
