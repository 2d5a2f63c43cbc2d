-- Makes room for messages that disappear: by a timer of their chat, or by the retention of all chats.
-- oldest code: 1

-- Seconds after which new messages of the chat go; NULL: they stay.
ALTER TABLE chats ADD COLUMN disappear_after integer;
-- Whether messages of the chat may have gone, so that a send looks for its client_id among theirs too.
ALTER TABLE chats ADD COLUMN has_expiries boolean NOT NULL DEFAULT false;

-- What goes: a range of rows a timer, which begins with the row after that of the timer and ends with that of the next
-- one (to_seq is NULL until then), and for the retention a range that begins with row 1 and has no seconds.
CREATE TABLE expiries (
    chat_id       bigint NOT NULL,
    from_seq      bigint NOT NULL,
    to_seq        bigint,
    seconds       integer,
    -- Whose the rows `expire` are: every row is somebody's.
    user_id       bigint NOT NULL,
    -- Messages of the range are deleted up to here, and announced by a row `expire` up to there.
    done_seq      bigint NOT NULL,
    announced_seq bigint NOT NULL,
    -- Whether there was a message between the two, and not only rows of kinds that stay.
    has_gone      boolean NOT NULL DEFAULT false,
    -- The newest row `expire` of the range: it takes the place of the one before.
    expire_seq    bigint,
    -- When a server looks at the range next; NULL: when the walk through the chats comes by.
    due_at        timestamptz,
    -- Until when one server has it for itself.
    leased_until  timestamptz,
    PRIMARY KEY (chat_id, from_seq)
) WITH (fillfactor = 50);
CREATE INDEX expiries_due_at ON expiries (due_at) WHERE due_at IS NOT NULL;

-- The client_ids of messages that have gone, so that a late retry stores none a second time. Nothing of their content.
CREATE TABLE expired_sends (
    chat_id    bigint NOT NULL,
    sender_id  bigint NOT NULL,
    client_id  uuid NOT NULL,
    seq        bigint NOT NULL,
    message_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (chat_id, sender_id, client_id)
);
CREATE INDEX expired_sends_created_at ON expired_sends (created_at);

CREATE OR REPLACE FUNCTION is_row_kind(p_kind text, p_message_type text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN p_kind IN (
            'message', 'edit', 'delete', 'reaction', 'member', 'group', 'hide', 'block', 'profile', 'sign_in',
            'settings', 'clear', 'star', 'privacy', 'timer', 'expire')
        AND p_message_type IN ('text', 'image', 'video', 'audio', 'document');
END
$$;
