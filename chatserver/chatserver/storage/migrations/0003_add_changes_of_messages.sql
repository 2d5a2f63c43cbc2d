-- Makes room for edits, deletions, reactions, and what concerns one user only.
-- oldest code: 1

-- {"<user_id>": "<emoji>"}: one reaction a member. Here and not in a table of its own, so that reading rows, which
-- every delivery does, costs no further look-up.
ALTER TABLE messages ADD COLUMN reactions jsonb;

-- NOT VALID: new rows are checked, and old ones, which obey the narrower check, need not be read under a lock.
ALTER TABLE messages DROP CONSTRAINT messages_kind_check;
ALTER TABLE messages ADD CONSTRAINT messages_kind_check CHECK (
    kind IN ('message', 'edit', 'delete', 'reaction', 'member', 'group', 'hide', 'block')) NOT VALID;

-- The chat of kind 'self' of each user that has one.
CREATE TABLE self_chats (
    user_id bigint PRIMARY KEY REFERENCES users,
    -- Deferred: the user is claimed first, so that two servers that make the same chat at once leave no orphan.
    chat_id bigint NOT NULL UNIQUE REFERENCES chats DEFERRABLE INITIALLY DEFERRED
);

-- Returns the user's own chat, made if need be, locked as every writer of a chat does.
CREATE FUNCTION lock_self_chat(p_origin text, p_user bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_chat bigint;
BEGIN
    SELECT chat_id INTO v_chat FROM self_chats WHERE user_id = p_user;
    IF NOT FOUND THEN
        INSERT INTO self_chats (user_id, chat_id)
        VALUES (p_user, nextval(pg_get_serial_sequence('chats', 'chat_id')))
        ON CONFLICT DO NOTHING RETURNING chat_id INTO v_chat;
        IF FOUND THEN
            INSERT INTO chats (chat_id, kind) VALUES (v_chat, 'self');
            INSERT INTO chat_members (chat_id, user_id) VALUES (v_chat, p_user);
            PERFORM pg_notify('chat_hints', json_build_object('o', p_origin, 'm',
                json_build_array(json_build_array(v_chat, json_build_array(p_user))))::text);
        ELSE
            -- Another server was faster; its transaction has ended, so this sees its row.
            SELECT chat_id INTO STRICT v_chat FROM self_chats WHERE user_id = p_user;
        END IF;
    END IF;
    PERFORM FROM chats WHERE chat_id = v_chat FOR NO KEY UPDATE;
    RETURN v_chat;
END
$$;
