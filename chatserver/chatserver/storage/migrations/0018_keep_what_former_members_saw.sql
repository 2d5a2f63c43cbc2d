-- Makes room for messages as they were when somebody left, who is shown no later edit or reaction.
-- oldest code: 1

-- How a message stood until the event until_seq changed it. Stored only where somebody has left since the message was
-- changed last, and deleted with the message's own text: what is deleted for everyone is kept nowhere.
CREATE TABLE message_versions (
    chat_id      bigint NOT NULL,
    seq          bigint NOT NULL,
    until_seq    bigint NOT NULL,
    message_text text,
    reactions    jsonb,
    edited_at    timestamptz,
    PRIMARY KEY (chat_id, seq, until_seq)
);
