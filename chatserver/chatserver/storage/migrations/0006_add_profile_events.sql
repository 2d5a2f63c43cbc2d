-- Makes room for the row that tells a user's other devices of a changed profile.
-- oldest code: 1

-- NOT VALID: new rows are checked, and old ones, which obey the narrower check, need not be read under a lock.
ALTER TABLE messages DROP CONSTRAINT messages_kind_check;
ALTER TABLE messages ADD CONSTRAINT messages_kind_check CHECK (
    kind IN ('message', 'edit', 'delete', 'reaction', 'member', 'group', 'hide', 'block', 'profile')) NOT VALID;
