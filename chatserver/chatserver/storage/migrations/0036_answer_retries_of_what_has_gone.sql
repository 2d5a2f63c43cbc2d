-- Answers a retry of a message that has gone with the first result, as of any other.
-- oldest code: 1

-- Stores messages of many chats: chats are locked in the order of their ids (no deadlocks), known client ids are
-- answered with the first result, the rest is numbered without gaps, and the hint of what is stored is left.
-- No client_id of a sender may come twice in one call: the second would violate the unique key.
--
-- outcome: stored, duplicate, conflict, chat_not_found, not_a_member, not_an_admin, blocked, reply_not_found.
-- from_name, to_name: as clients see them: username, else phone number, else what a deleted account has.
-- members: who may see the rows of a chat, with the first row that is stored in it: its members under its lock.
CREATE OR REPLACE FUNCTION store_messages(
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
    v_set text;
    -- What has gone of the messages that are retried here: NULL, but in chats that had expiries.
    v_has_expiries boolean;
    v_gone_ids bigint[];
    v_gone_seqs bigint[];
    v_gone_ats timestamptz[];
BEGIN
    -- As in require_durable_commit(). Assignments: PERFORM would start the executor for each.
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        v_set := set_config('synchronous_commit', 'on', true);
    END IF;
    -- A chat that somebody holds for long must not hold the others in the batch: it fails, they are tried again.
    v_set := set_config('lock_timeout', '1000', true);
    SELECT bool_or(l.has_expiries) INTO v_has_expiries FROM (
        SELECT c.has_expiries FROM chats c WHERE c.chat_id = ANY (p_chat_ids) ORDER BY c.chat_id FOR NO KEY UPDATE) l;
    v_now := clock_timestamp();
    IF v_has_expiries THEN
        SELECT array_agg(e.message_id ORDER BY i.ord), array_agg(e.seq ORDER BY i.ord),
            array_agg(e.created_at ORDER BY i.ord)
        INTO v_gone_ids, v_gone_seqs, v_gone_ats
        FROM unnest(p_chat_ids, p_sender_ids, p_client_ids) WITH ORDINALITY AS i (chat_id, sender_id, client_id, ord)
        LEFT JOIN expired_sends e
            ON e.chat_id = i.chat_id AND e.sender_id = i.sender_id AND e.client_id = i.client_id;
    END IF;

    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT i.*, c.kind, c.last_seq, d.user_lo, d.user_hi, greatest(v_now, c.last_at) AS created_at,
            coalesce(sender.username, sender.phone_number, 'deleted user') AS from_name,
            CASE WHEN other.user_id IS NOT NULL THEN
                coalesce(other.username, other.phone_number, 'deleted user') END AS to_name,
            coalesce(known.message_id, v_gone_ids[i.ord]) AS known_id,
            coalesce(known.seq, v_gone_seqs[i.ord]) AS known_seq,
            coalesce(known.created_at, v_gone_ats[i.ord]) AS known_at,
            CASE
                WHEN known.seq IS NOT NULL THEN
                    CASE WHEN known.client_hash IS NOT DISTINCT FROM i.client_hash THEN 'duplicate' ELSE 'conflict' END
                -- Its content is not known any more, and so not compared.
                WHEN v_gone_seqs[i.ord] IS NOT NULL THEN 'duplicate'
                WHEN c.kind IS NULL OR c.kind = 'self' OR cm.user_id IS NULL THEN 'chat_not_found'
                -- Whoever has deleted their account leaves their groups a moment later.
                WHEN cm.left_seq IS NOT NULL OR sender.deleted_at IS NOT NULL THEN 'not_a_member'
                WHEN c.admins_send AND cm.role <> 'admin' THEN 'not_an_admin'
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
        -- Put together as text: json_agg() and json_build_array() look each type up for each row.
        SELECT leave_hint(p_owner, p_slot, p_batch, '{"o":' || to_json(p_origin) || ',"b":true,"c":['
            || string_agg('[' || a.chat_id || ',' || a.first_seq || ',' || a.last_seq || ']', ',') || ']}')
        FROM advanced a HAVING count(*) > 0
    )
    SELECT n.outcome, coalesce(n.message_id, n.known_id),
        CASE WHEN n.outcome = 'stored' THEN n.seq ELSE n.known_seq END, coalesce(n.known_at, n.created_at),
        n.from_name, n.to_name,
        CASE WHEN n.outcome <> 'stored' OR n.seq > n.last_seq + 1 THEN NULL
            -- Nobody leaves a direct chat.
            WHEN n.kind = 'direct' THEN ARRAY[n.user_lo, n.user_hi]
            ELSE ARRAY(SELECT m.user_id FROM chat_members m WHERE m.chat_id = n.chat_id AND m.left_seq IS NULL) END
    FROM numbered n
    -- A SELECT in WITH runs only where it is used.
    WHERE (SELECT count(*) FROM hinted) >= 0
    ORDER BY n.ord;
END
$$;
