-- Who comes to a server and who leaves it is written, and told, by one call: it is made once a second.
-- oldest code: 1

-- Users who are connected to another server too do not turn. Who turns offline has been seen now. The hints go with the
-- transaction, in pieces that fit into a NOTIFY: they come in the order of commits, so that the last one is true.
CREATE FUNCTION turn_presence(origin text, server text, came bigint[], went bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    turned bigint[];
    onlines integer[];
BEGIN
    -- In order, so that two servers that write of the same users do not lock each other out; and first, so that what
    -- follows sees what another server has committed before it let these users go.
    PERFORM FROM users WHERE user_id = ANY (came || went) ORDER BY user_id FOR NO KEY UPDATE;
    WITH come AS (
        INSERT INTO presence (server_name, user_id) SELECT server, c.user_id FROM unnest(came) AS c (user_id)
        ON CONFLICT DO NOTHING
        RETURNING presence.user_id
    ), gone AS (
        DELETE FROM presence p WHERE p.server_name = server AND p.user_id = ANY (went)
        RETURNING p.user_id
    ), turning AS (
        SELECT changed.user_id, changed.online
        FROM (SELECT come.user_id, 1 AS online FROM come UNION ALL SELECT gone.user_id, 0 FROM gone) changed
        WHERE NOT EXISTS (SELECT FROM presence p WHERE p.user_id = changed.user_id AND p.server_name <> server)
    ), seen AS (
        UPDATE users u SET last_seen = now() FROM turning t
        WHERE u.user_id = t.user_id AND t.online = 0 AND u.deleted_at IS NULL
    )
    SELECT array_agg(t.user_id ORDER BY t.user_id), array_agg(t.online ORDER BY t.user_id) INTO turned, onlines
    FROM turning t;
    PERFORM pg_notify('chat_hints', json_build_object('o', origin, 'presence', json_agg(json_build_array(t.id, t.online)))::text)
    FROM unnest(turned, onlines) WITH ORDINALITY AS t (id, online, place)
    GROUP BY (t.place - 1) / 80;
END
$$;
