-- Makes room for the servers' heartbeats, from which each learns whether it has more than its share of connections.
-- oldest code: 1

-- One row a server, written every few seconds; room for the newest version beside the old ones.
CREATE TABLE servers (
    server_name text PRIMARY KEY,
    connections integer NOT NULL CHECK (connections >= 0),
    draining    boolean NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
