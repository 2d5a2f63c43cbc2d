-- Makes room for the client_ids of groups, so that making a group can be retried.
-- oldest code: 1

-- What a user's client asked for under a client_id, and the group it got.
CREATE TABLE group_requests (
    user_id     bigint NOT NULL REFERENCES users,
    client_id   uuid NOT NULL,
    client_hash bytea NOT NULL,
    -- Deferred: the client_id is claimed first, so that two servers that are asked at once make one group.
    group_id    bigint NOT NULL REFERENCES groups DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (user_id, client_id)
);
