-- Makes it one look-up whether anybody has left a chat since a message was changed.
-- oldest code: 1
-- transaction: none

CREATE INDEX CONCURRENTLY IF NOT EXISTS chat_members_left ON chat_members (chat_id, left_seq) WHERE left_seq IS NOT NULL;
