-- Makes the functions through which alone rows enter `messages`.
-- oldest code: 1
--
-- They are functions because each statement inside of a volatile function sees what was committed before that
-- statement: locking first and looking second is then one round trip. A single statement would lock with one snapshot
-- and check client ids and membership with an older one.

-- Every acknowledged row is on disk: no default of the database or the role may weaken that.
CREATE FUNCTION require_durable_commit() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
END
$$;

-- Stores messages of many chats: chats are locked in the order of their ids (no deadlocks), known client ids are
-- answered with the first result, the rest is numbered without gaps, and one NOTIFY tells all servers.
-- outcome: stored, duplicate, conflict, chat_not_found, not_a_member, blocked, reply_not_found.
CREATE FUNCTION append_messages(
    p_origin text, p_chat_ids bigint[], p_sender_ids bigint[], p_client_ids uuid[], p_client_hashes bytea[],
    p_texts text[], p_types text[], p_media_urls text[], p_reply_tos bigint[], p_client_timestamps timestamptz[]
) RETURNS TABLE (o_ord bigint, o_outcome text, o_message_id bigint, o_seq bigint, o_created_at timestamptz)
LANGUAGE plpgsql
-- The plan is cached for the session, which may begin with empty tables: only index lookups are ever right here.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
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
    WITH input AS (
        SELECT * FROM unnest(
            p_chat_ids, p_sender_ids, p_client_ids, p_client_hashes,
            p_texts, p_types, p_media_urls, p_reply_tos, p_client_timestamps
        ) WITH ORDINALITY AS i (
            chat_id, sender_id, client_id, client_hash,
            message_text, message_type, media_url, reply_to, client_timestamp, ord)
    ), judged AS (
        SELECT i.*, c.last_seq, greatest(v_now, c.last_at) AS created_at,
            known.message_id AS known_id, known.seq AS known_seq, known.created_at AS known_at,
            known.client_hash AS known_hash,
            row_number() OVER (PARTITION BY i.chat_id, i.sender_id, i.client_id ORDER BY i.ord) AS copy,
            CASE
                WHEN known.seq IS NOT NULL THEN 'known'
                WHEN c.kind IS NULL OR c.kind = 'self' OR cm.user_id IS NULL THEN 'chat_not_found'
                WHEN cm.left_seq IS NOT NULL THEN 'not_a_member'
                WHEN c.kind = 'direct' AND EXISTS (
                    SELECT FROM direct_chats d JOIN blocks b
                    ON (b.blocker_id = d.user_lo AND b.blocked_id = d.user_hi)
                    OR (b.blocker_id = d.user_hi AND b.blocked_id = d.user_lo)
                    WHERE d.chat_id = i.chat_id) THEN 'blocked'
                WHEN i.reply_to <= cm.joined_seq OR i.reply_to > c.last_seq THEN 'reply_not_found'
                ELSE 'new'
            END AS verdict
        FROM input i
        LEFT JOIN chats c ON c.chat_id = i.chat_id
        LEFT JOIN chat_members cm ON cm.chat_id = i.chat_id AND cm.user_id = i.sender_id
        LEFT JOIN messages known
            ON known.chat_id = i.chat_id AND known.sender_id = i.sender_id AND known.client_id = i.client_id
    ), numbered AS (
        SELECT j.*, j.last_seq + row_number() OVER (PARTITION BY j.chat_id ORDER BY j.ord) AS seq
        FROM judged j WHERE j.verdict = 'new' AND j.copy = 1
    ), stored AS (
        INSERT INTO messages AS m (
            chat_id, seq, sender_id, client_id, client_hash,
            message_text, message_type, media_url, reply_to, client_timestamp, created_at)
        SELECT n.chat_id, n.seq, n.sender_id, n.client_id, n.client_hash,
            n.message_text, n.message_type, n.media_url, n.reply_to, n.client_timestamp, n.created_at
        FROM numbered n
        RETURNING m.chat_id, m.sender_id, m.client_id, m.client_hash, m.message_id, m.seq, m.created_at
    ), advanced AS (
        UPDATE chats c SET last_seq = n.last_seq, last_xact = pg_current_xact_id(), last_at = n.last_at
        FROM (
            SELECT chat_id, min(seq) AS first_seq, max(seq) AS last_seq, max(created_at) AS last_at
            FROM numbered GROUP BY chat_id
        ) n
        WHERE c.chat_id = n.chat_id
        RETURNING c.chat_id, n.first_seq, n.last_seq
    ), hinted AS (
        -- 80 ranges a payload stay below NOTIFY's 8,000 bytes.
        SELECT pg_notify('chat_hints', json_build_object(
            'o', p_origin, 'c', json_agg(json_build_array(p.chat_id, p.first_seq, p.last_seq)))::text)
        FROM (SELECT a.*, (row_number() OVER () - 1) / 80 AS piece FROM advanced a) p
        GROUP BY p.piece
    )
    SELECT j.ord,
        CASE
            WHEN j.verdict = 'known' AND j.known_hash IS NOT DISTINCT FROM j.client_hash THEN 'duplicate'
            WHEN j.verdict = 'known' THEN 'conflict'
            WHEN j.verdict = 'new' AND j.copy = 1 THEN 'stored'
            WHEN j.verdict = 'new' AND s.seq IS NULL THEN 'reply_not_found'
            WHEN j.verdict = 'new' AND s.client_hash IS NOT DISTINCT FROM j.client_hash THEN 'duplicate'
            WHEN j.verdict = 'new' THEN 'conflict'
            ELSE j.verdict
        END,
        coalesce(j.known_id, s.message_id), coalesce(j.known_seq, s.seq), coalesce(j.known_at, s.created_at)
    FROM judged j
    LEFT JOIN stored s
        ON j.verdict = 'new' AND s.chat_id = j.chat_id AND s.sender_id = j.sender_id AND s.client_id = j.client_id
    -- A SELECT in WITH runs only where it is used.
    WHERE (SELECT count(*) FROM hinted) >= 0
    ORDER BY j.ord;
END
$$;

-- Adds one event to a chat that the caller's transaction has locked, and tells all servers; returns its seq.
CREATE FUNCTION append_event(
    p_origin text, p_chat_id bigint, p_sender_id bigint, p_kind text, p_target_seq bigint, p_detail jsonb
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_seq bigint;
    v_at  timestamptz;
BEGIN
    PERFORM require_durable_commit();
    UPDATE chats SET last_seq = last_seq + 1, last_xact = pg_current_xact_id(),
        last_at = greatest(clock_timestamp(), last_at)
    WHERE chat_id = p_chat_id
    RETURNING last_seq, last_at INTO STRICT v_seq, v_at;
    INSERT INTO messages (chat_id, seq, kind, target_seq, sender_id, detail, created_at)
    VALUES (p_chat_id, v_seq, p_kind, p_target_seq, p_sender_id, p_detail, v_at);
    PERFORM pg_notify('chat_hints', json_build_object(
        'o', p_origin, 'c', json_build_array(json_build_array(p_chat_id, v_seq, v_seq)))::text);
    RETURN v_seq;
END
$$;

-- Returns the direct chat of two users (or of one with oneself), and makes it when there is none.
CREATE FUNCTION open_direct_chat(p_origin text, p_user bigint, p_other bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_lo   bigint := least(p_user, p_other);
    v_hi   bigint := greatest(p_user, p_other);
    v_chat bigint;
BEGIN
    SELECT chat_id INTO v_chat FROM direct_chats WHERE user_lo = v_lo AND user_hi = v_hi;
    IF FOUND THEN
        RETURN v_chat;
    END IF;
    PERFORM require_durable_commit();
    INSERT INTO direct_chats (user_lo, user_hi, chat_id)
    VALUES (v_lo, v_hi, nextval(pg_get_serial_sequence('chats', 'chat_id')))
    ON CONFLICT DO NOTHING RETURNING chat_id INTO v_chat;
    IF NOT FOUND THEN
        -- Another server was faster; its transaction has ended, so this sees its row.
        SELECT chat_id INTO STRICT v_chat FROM direct_chats WHERE user_lo = v_lo AND user_hi = v_hi;
        RETURN v_chat;
    END IF;
    INSERT INTO chats (chat_id, kind) VALUES (v_chat, 'direct');
    INSERT INTO chat_members (chat_id, user_id)
    SELECT DISTINCT v_chat, u FROM unnest(ARRAY[v_lo, v_hi]) AS u;
    PERFORM pg_notify('chat_hints', json_build_object('o', p_origin, 'm',
        json_build_array(json_build_array(v_chat, to_json(ARRAY[v_lo, v_hi]))))::text);
    RETURN v_chat;
END
$$;
