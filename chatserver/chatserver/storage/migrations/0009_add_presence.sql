-- Makes room for who is connected where, which only the server that holds the connections says.
-- oldest code: 1

-- A row a user and server, from the first connection there to the end of the last one. Without foreign keys: a server
-- that says nothing any more is gone from `servers`, and its rows follow.
CREATE TABLE presence (
    server_name text NOT NULL,
    user_id     bigint NOT NULL,
    PRIMARY KEY (server_name, user_id)
);
CREATE INDEX presence_user_id ON presence (user_id);

-- Who is connected has been seen this moment; `users.last_seen` is written once, when they go offline.
CREATE FUNCTION last_seen_of(who bigint, stored timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM presence p WHERE p.user_id = who) THEN now() ELSE stored END
$$;
