-- Makes room for the PIN that a user may require for sign-ins beside the code.
-- oldest code: 1

CREATE TABLE pins (
    user_id  bigint PRIMARY KEY,
    salt     bytea NOT NULL,
    -- By scrypt, of the PIN's HMAC under the chat's secret key: without that key there is nothing to guess.
    pin_hash bytea NOT NULL,
    -- Wrong tries since the last right one, and until when there is no other.
    wrong    integer NOT NULL DEFAULT 0,
    retry_at timestamptz
);
