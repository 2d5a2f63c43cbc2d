-- Takes hints out of the transactions that they announce: each leaves its hint in a row, and it is published afterwards.
-- oldest code: 1
--
-- Functions of before, which notify in the transaction, stay for servers of the release before.

-- What a transaction committed for other servers to hear. A slot is used again once its hint is published, so that each
-- transaction updates one row in place; rows that stay were left by a server that ended, and others publish them.
-- Its owner is one process of a server: another one under the same name has slots of its own.
CREATE TABLE hint_slots (
    owner      text NOT NULL,
    slot       integer NOT NULL,
    batch      bigint NOT NULL,
    written_at timestamptz NOT NULL,
    hint       text NOT NULL,
    PRIMARY KEY (owner, slot)
) WITH (fillfactor = 10);

-- The hint of a large batch stays in its row.
ALTER TABLE hint_slots ALTER COLUMN hint SET STORAGE MAIN;

-- Leaves the hint of the caller's transaction in a slot of its server.
CREATE FUNCTION leave_hint(p_owner text, p_slot integer, p_batch bigint, p_hint text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE hint_slots SET batch = p_batch, written_at = v_now, hint = p_hint WHERE owner = p_owner AND slot = p_slot;
    IF NOT FOUND THEN
        INSERT INTO hint_slots (owner, slot, batch, written_at, hint)
        VALUES (p_owner, p_slot, p_batch, v_now, p_hint);
    END IF;
END
$$;

-- Stores messages of many chats: chats are locked in the order of their ids (no deadlocks), known client ids are
-- answered with the first result, the rest is numbered without gaps, and the hint of what is stored goes into a slot.
-- No client_id of a sender may come twice in one call: the second would violate the unique key.
--
-- outcome: stored, duplicate, conflict, chat_not_found, not_a_member, blocked, reply_not_found.
-- from_name, to_name: as clients see them: username, else phone number, else what a deleted account has.
-- members: who may see the rows of a chat, with the first row that is stored in it: its members under its lock.
CREATE FUNCTION store_messages(
    p_origin text, p_owner text, p_slot integer, p_batch bigint,
    p_chat_ids bigint[], p_sender_ids bigint[], p_client_ids uuid[], p_client_hashes bytea[],
    p_texts text[], p_types text[], p_media_urls text[], p_reply_tos bigint[], p_client_timestamps timestamptz[]
) RETURNS TABLE (
    o_outcome text, o_message_id bigint, o_seq bigint, o_created_at timestamptz,
    o_from_name text, o_to_name text, o_members bigint[])
LANGUAGE plpgsql
-- The plan is cached for the session, which may begin with empty tables: only index lookups are ever right here. And it
-- is kept at once: one for the values costs a millisecond of planning, and looks cheaper where a batch is small.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now timestamptz;
BEGIN
    PERFORM require_durable_commit();
    -- A chat that somebody holds for long must not hold the others in the batch: it fails, they are tried again.
    PERFORM set_config('lock_timeout', '1000', true);
    PERFORM FROM chats c WHERE c.chat_id = ANY (p_chat_ids) ORDER BY c.chat_id FOR NO KEY UPDATE;
    v_now := clock_timestamp();

    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT i.*, c.kind, c.last_seq, d.user_lo, d.user_hi, greatest(v_now, c.last_at) AS created_at,
            coalesce(sender.username, sender.phone_number, 'deleted user') AS from_name,
            CASE WHEN other.user_id IS NOT NULL THEN
                coalesce(other.username, other.phone_number, 'deleted user') END AS to_name,
            known.message_id AS known_id, known.seq AS known_seq, known.created_at AS known_at,
            CASE
                WHEN known.seq IS NOT NULL THEN
                    CASE WHEN known.client_hash IS NOT DISTINCT FROM i.client_hash THEN 'duplicate' ELSE 'conflict' END
                WHEN c.kind IS NULL OR c.kind = 'self' OR cm.user_id IS NULL THEN 'chat_not_found'
                -- Whoever has deleted their account leaves their groups a moment later.
                WHEN cm.left_seq IS NOT NULL OR sender.deleted_at IS NOT NULL THEN 'not_a_member'
                WHEN EXISTS (SELECT FROM blocks b WHERE b.blocker_id = d.user_lo AND b.blocked_id = d.user_hi)
                    OR EXISTS (SELECT FROM blocks b WHERE b.blocker_id = d.user_hi AND b.blocked_id = d.user_lo)
                    THEN 'blocked'
                -- No EXISTS: it may be planned as a hash of the whole table, while that is small.
                WHEN i.reply_to IS NOT NULL AND (
                    i.reply_to <= cm.joined_seq OR cm.absent @> i.reply_to OR (
                        SELECT t.kind = 'message' AND t.deleted_at IS NULL FROM messages t
                        WHERE t.chat_id = i.chat_id AND t.seq = i.reply_to) IS NOT TRUE) THEN 'reply_not_found'
                ELSE 'stored'
            END AS outcome
        FROM unnest(
            p_chat_ids, p_sender_ids, p_client_ids, p_client_hashes,
            p_texts, p_types, p_media_urls, p_reply_tos, p_client_timestamps
        ) WITH ORDINALITY AS i (
            chat_id, sender_id, client_id, client_hash,
            message_text, message_type, media_url, reply_to, client_timestamp, ord)
        LEFT JOIN chats c ON c.chat_id = i.chat_id
        LEFT JOIN chat_members cm ON cm.chat_id = i.chat_id AND cm.user_id = i.sender_id
        LEFT JOIN messages known
            ON known.chat_id = i.chat_id AND known.sender_id = i.sender_id AND known.client_id = i.client_id
        LEFT JOIN direct_chats d ON d.chat_id = i.chat_id
        LEFT JOIN users sender ON sender.user_id = i.sender_id
        LEFT JOIN users other ON other.user_id = CASE WHEN d.user_lo = i.sender_id THEN d.user_hi ELSE d.user_lo END
    ), numbered AS MATERIALIZED (
        -- The number of a message is drawn here, so that the rows need not be joined with what the INSERT returns.
        SELECT j.*,
            CASE WHEN j.outcome = 'stored' THEN nextval('messages_message_id_seq') END AS message_id,
            j.last_seq + count(*) FILTER (WHERE j.outcome = 'stored') OVER (PARTITION BY j.chat_id ORDER BY j.ord) AS seq
        FROM judged j
    ), stored AS (
        INSERT INTO messages (
            chat_id, seq, message_id, sender_id, client_id, client_hash,
            message_text, message_type, media_url, reply_to, client_timestamp, created_at)
        OVERRIDING SYSTEM VALUE
        SELECT n.chat_id, n.seq, n.message_id, n.sender_id, n.client_id, n.client_hash,
            n.message_text, n.message_type, n.media_url, n.reply_to, n.client_timestamp, n.created_at
        FROM numbered n WHERE n.outcome = 'stored'
    ), advanced AS (
        UPDATE chats c SET last_seq = n.last_seq, last_xact = pg_current_xact_id(), last_at = n.last_at
        FROM (
            SELECT chat_id, min(seq) AS first_seq, max(seq) AS last_seq, max(created_at) AS last_at
            FROM numbered WHERE outcome = 'stored' GROUP BY chat_id
        ) n
        WHERE c.chat_id = n.chat_id
        RETURNING c.chat_id, n.first_seq, n.last_seq
    ), hinted AS (
        SELECT json_build_object('o', p_origin, 'b', true,
            'c', json_agg(json_build_array(a.chat_id, a.first_seq, a.last_seq)))::text AS hint
        FROM advanced a HAVING count(*) > 0
    ), kept AS (
        -- In place: the primary key stays, and the page has room.
        UPDATE hint_slots s SET batch = p_batch, written_at = v_now, hint = h.hint FROM hinted h
        WHERE s.owner = p_owner AND s.slot = p_slot
        RETURNING s.slot
    ), made AS (
        INSERT INTO hint_slots (owner, slot, batch, written_at, hint)
        SELECT p_owner, p_slot, p_batch, v_now, h.hint FROM hinted h WHERE NOT EXISTS (SELECT FROM kept)
    )
    SELECT n.outcome, coalesce(n.message_id, n.known_id),
        CASE WHEN n.outcome = 'stored' THEN n.seq ELSE n.known_seq END, coalesce(n.known_at, n.created_at),
        n.from_name, n.to_name,
        CASE WHEN n.outcome <> 'stored' OR n.seq > n.last_seq + 1 THEN NULL
            -- Nobody leaves a direct chat.
            WHEN n.kind = 'direct' THEN ARRAY[n.user_lo, n.user_hi]
            ELSE ARRAY(SELECT m.user_id FROM chat_members m WHERE m.chat_id = n.chat_id AND m.left_seq IS NULL) END
    FROM numbered n
    ORDER BY n.ord;
END
$$;

-- Adds one event to a chat that the caller's transaction has locked; returns its seq, for the transaction's hint.
CREATE FUNCTION append_event(
    p_chat_id bigint, p_sender_id bigint, p_kind text, p_target_seq bigint, p_detail jsonb
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_seq bigint;
    v_at  timestamptz;
BEGIN
    PERFORM require_durable_commit();
    UPDATE chats SET last_seq = last_seq + 1, last_xact = pg_current_xact_id(), last_at = greatest(v_now, last_at)
    WHERE chat_id = p_chat_id
    RETURNING last_seq, last_at INTO STRICT v_seq, v_at;
    INSERT INTO messages (chat_id, seq, kind, target_seq, sender_id, detail, created_at)
    VALUES (p_chat_id, v_seq, p_kind, p_target_seq, p_sender_id, p_detail, v_at);
    RETURN v_seq;
END
$$;

-- Returns the user's own chat, created if needed, locked as every writer of a chat does; and whether it was created.
CREATE FUNCTION lock_self_chat(p_user bigint, OUT o_chat bigint, OUT o_created boolean) LANGUAGE plpgsql AS $$
BEGIN
    o_created := false;
    SELECT chat_id INTO o_chat FROM self_chats WHERE user_id = p_user;
    IF NOT FOUND THEN
        INSERT INTO self_chats (user_id, chat_id)
        VALUES (p_user, nextval(pg_get_serial_sequence('chats', 'chat_id')))
        ON CONFLICT DO NOTHING RETURNING chat_id INTO o_chat;
        IF FOUND THEN
            INSERT INTO chats (chat_id, kind) VALUES (o_chat, 'self');
            INSERT INTO chat_members (chat_id, user_id) VALUES (o_chat, p_user);
            o_created := true;
        ELSE
            -- Another server was faster; its transaction has ended, so this sees its row.
            SELECT chat_id INTO STRICT o_chat FROM self_chats WHERE user_id = p_user;
        END IF;
    END IF;
    PERFORM FROM chats WHERE chat_id = o_chat FOR NO KEY UPDATE;
END
$$;

-- Returns the direct chat of two users (or of one with oneself), and whether it was created: then its hint is in a slot.
CREATE FUNCTION open_direct_chat(
    p_origin text, p_owner text, p_slot integer, p_batch bigint, p_user bigint, p_other bigint,
    OUT o_chat bigint, OUT o_created boolean
) LANGUAGE plpgsql AS $$
DECLARE
    v_lo bigint := least(p_user, p_other);
    v_hi bigint := greatest(p_user, p_other);
BEGIN
    o_created := false;
    SELECT chat_id INTO o_chat FROM direct_chats WHERE user_lo = v_lo AND user_hi = v_hi;
    IF FOUND THEN
        RETURN;
    END IF;
    PERFORM require_durable_commit();
    INSERT INTO direct_chats (user_lo, user_hi, chat_id)
    VALUES (v_lo, v_hi, nextval(pg_get_serial_sequence('chats', 'chat_id')))
    ON CONFLICT DO NOTHING RETURNING chat_id INTO o_chat;
    IF NOT FOUND THEN
        -- Another server was faster; its transaction has ended, so this sees its row.
        SELECT chat_id INTO STRICT o_chat FROM direct_chats WHERE user_lo = v_lo AND user_hi = v_hi;
        RETURN;
    END IF;
    INSERT INTO chats (chat_id, kind) VALUES (o_chat, 'direct');
    INSERT INTO chat_members (chat_id, user_id)
    SELECT DISTINCT o_chat, u FROM unnest(ARRAY[v_lo, v_hi]) AS u;
    o_created := true;
    PERFORM leave_hint(p_owner, p_slot, p_batch, json_build_object('o', p_origin, 'm',
        json_build_array(json_build_array(o_chat, to_json(ARRAY[v_lo, v_hi]))))::text);
END
$$;

-- Records who connected to a server and who disconnected. Users who are connected to another server too do not turn; who
-- turns offline has been seen now. Returns who turned, with a hint of it in a slot.
CREATE FUNCTION turn_presence(
    p_origin text, p_owner text, p_slot integer, p_batch bigint, server text, came bigint[], went bigint[],
    OUT o_turned bigint[], OUT o_onlines integer[]
) LANGUAGE plpgsql AS $$
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
    SELECT array_agg(t.user_id ORDER BY t.user_id), array_agg(t.online ORDER BY t.user_id) INTO o_turned, o_onlines
    FROM turning t;
    IF o_turned IS NOT NULL THEN
        PERFORM leave_hint(p_owner, p_slot, p_batch, json_build_object('o', p_origin, 'presence', (
            SELECT json_agg(json_build_array(t.id, t.online)) FROM unnest(o_turned, o_onlines) AS t (id, online)))::text);
    END IF;
END
$$;
