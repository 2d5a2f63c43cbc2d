-- Makes room for invites: links by which users join groups.
-- oldest code: 1

-- Of a code only a digest is stored. An invite that was revoked or used up is deleted, and one that has expired with the
-- next one that is made for its group.
CREATE TABLE group_invites (
    group_id   bigint NOT NULL REFERENCES groups,
    invite_id  bigint GENERATED ALWAYS AS IDENTITY (MAXVALUE 8796093022207),
    code_hash  bytea NOT NULL CHECK (length(code_hash) = 32),
    created_by bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    -- NULL: any number.
    max_uses   integer,
    uses       integer NOT NULL DEFAULT 0,
    PRIMARY KEY (group_id, invite_id),
    UNIQUE (group_id, code_hash)
);
