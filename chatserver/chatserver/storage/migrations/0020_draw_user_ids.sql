-- Gives new users ids that cannot be counted through.
-- oldest code: 1

CREATE SEQUENCE user_numbers;

-- One row: what nobody outside knows of the ids.
CREATE TABLE user_id_key (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    key      text NOT NULL DEFAULT gen_random_uuid()::text
);
INSERT INTO user_id_key DEFAULT VALUES;

-- Milliseconds since 2020, and 12 bits: in the order of sign-ups, and below 2^53, which JavaScript can hold, until 2089.
-- The bits are a running number, so that no two users of a millisecond get the same, moved by what only the key tells.
CREATE FUNCTION new_user_id() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_ms   bigint := floor(extract(epoch FROM clock_timestamp() - timestamptz '2020-01-01 00:00:00+00') * 1000);
    v_move integer;
BEGIN
    SELECT ('x' || left(md5(k.key || v_ms), 3))::bit(12)::integer INTO STRICT v_move FROM user_id_key k;
    RETURN (v_ms << 12) | ((nextval('user_numbers') + v_move) & 4095);
END
$$;

ALTER TABLE users ALTER COLUMN user_id DROP IDENTITY, ALTER COLUMN user_id SET DEFAULT new_user_id();
