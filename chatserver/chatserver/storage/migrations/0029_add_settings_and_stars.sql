-- Makes room for what a user sets for a chat, for cleared histories and for starred messages.
-- oldest code: 1

-- Constant defaults, so that no row is written.
ALTER TABLE chat_members ADD COLUMN muted_until timestamptz;
ALTER TABLE chat_members ADD COLUMN pinned_at timestamptz;
ALTER TABLE chat_members ADD COLUMN archived boolean NOT NULL DEFAULT false;
ALTER TABLE chat_members ADD COLUMN marked_unread boolean NOT NULL DEFAULT false;
-- The joined_seq of before a member cleared the history, which raises joined_seq: reads begin there, however many rows
-- are below. NULL: never cleared.
ALTER TABLE chat_members ADD COLUMN came_seq bigint;

CREATE TABLE stars (
    chat_id    bigint NOT NULL,
    user_id    bigint NOT NULL,
    seq        bigint NOT NULL,
    starred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (chat_id, user_id, seq)
);
CREATE INDEX stars_user_id ON stars (user_id, starred_at, chat_id, seq);

CREATE OR REPLACE FUNCTION is_row_kind(p_kind text, p_message_type text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN p_kind IN (
            'message', 'edit', 'delete', 'reaction', 'member', 'group', 'hide', 'block', 'profile', 'sign_in',
            'settings', 'clear', 'star')
        AND p_message_type IN ('text', 'image', 'video', 'audio', 'document');
END
$$;
