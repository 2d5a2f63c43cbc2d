-- Keeps ids within what JavaScript's numbers hold exactly, and leaves bits 43 to 52 of chat and message ids to a shard.
-- oldest code: 1

-- Shard 0. A number is drawn for each row of a chat, so that no seq passes this either.
ALTER SEQUENCE chats_chat_id_seq MAXVALUE 8796093022207;
ALTER SEQUENCE messages_message_id_seq MAXVALUE 8796093022207;
ALTER SEQUENCE devices_device_id_seq MAXVALUE 9007199254740991;

-- The id of a user who signs up in this millisecond since 2020: see 0020_draw_user_ids.sql.
CREATE FUNCTION user_id_at(p_ms bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_move integer;
BEGIN
    IF p_ms NOT BETWEEN 0 AND (1::bigint << 41) - 1 THEN
        RAISE EXCEPTION 'No user id exists for millisecond % since 2020: ids end in 2089. Set the clock of the database''s host right.', p_ms
            USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    SELECT ('x' || left(md5(k.key || p_ms), 3))::bit(12)::integer INTO STRICT v_move FROM user_id_key k;
    RETURN (p_ms << 12) | ((nextval('user_numbers') + v_move) & 4095);
END
$$;

CREATE OR REPLACE FUNCTION new_user_id() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT user_id_at(floor(extract(epoch FROM clock_timestamp() - timestamptz '2020-01-01 00:00:00+00') * 1000)::bigint)
$$;
