-- Makes room for what users say about themselves, and for whom they show their data.
-- oldest code: 1

ALTER TABLE users ADD COLUMN about text;

-- Of users who have changed anything. Audiences: everyone, contacts (users to whom they have written), nobody.
CREATE TABLE privacy (
    user_id   bigint PRIMARY KEY REFERENCES users,
    last_seen text NOT NULL DEFAULT 'everyone',
    picture   text NOT NULL DEFAULT 'everyone',
    about     text NOT NULL DEFAULT 'everyone',
    groups    text NOT NULL DEFAULT 'everyone'
);

CREATE OR REPLACE FUNCTION is_row_kind(p_kind text, p_message_type text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN p_kind IN (
            'message', 'edit', 'delete', 'reaction', 'member', 'group', 'hide', 'block', 'profile', 'sign_in',
            'settings', 'clear', 'star', 'privacy')
        AND p_message_type IN ('text', 'image', 'video', 'audio', 'document');
END
$$;
