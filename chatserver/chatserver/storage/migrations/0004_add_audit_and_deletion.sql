-- Makes room for the resend back-off, deleted accounts, and the audit log.
-- oldest code: 1

-- Codes sent to the number in a row: since the last one was used, or was too old to be.
ALTER TABLE auth_codes ADD COLUMN sends smallint NOT NULL DEFAULT 1;

-- A deleted account keeps its id, which rows of chats name, and nothing that tells whose it was. Number and username
-- are free again.
ALTER TABLE users ADD COLUMN deleted_at timestamptz;
ALTER TABLE users ALTER COLUMN phone_number DROP NOT NULL;
-- NOT VALID: new rows are checked, and old ones, which cannot break it, need not be read under a lock.
ALTER TABLE users ADD CONSTRAINT users_deleted_check CHECK (
    (phone_number IS NULL) = (deleted_at IS NOT NULL) AND (deleted_at IS NULL OR username IS NULL)) NOT VALID;

-- Deleted accounts that may still be members of groups; a server that dies on the way leaves the rest to the others.
CREATE TABLE account_deletions (
    user_id    bigint PRIMARY KEY REFERENCES users,
    deleted_at timestamptz NOT NULL DEFAULT now()
);

-- Who signed in or out and who administered what. Without foreign keys: it tells of what is gone, too. Numbers are
-- masked, and rows are deleted after a time.
CREATE TABLE audit_events (
    event_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    action    text NOT NULL,
    -- Who did it, on which device; null: nobody was signed in.
    user_id   bigint,
    device_id bigint,
    chat_id   bigint,
    detail    jsonb
);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_user_id ON audit_events (user_id, at);
