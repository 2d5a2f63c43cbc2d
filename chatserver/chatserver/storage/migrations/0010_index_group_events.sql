-- Makes a group's name of the past quick to find: a former member sees the one of when they left.
-- oldest code: 1
-- transaction: none

CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_group_events ON messages (chat_id, seq) WHERE kind = 'group';
