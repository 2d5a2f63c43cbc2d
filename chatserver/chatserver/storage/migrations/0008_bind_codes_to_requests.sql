-- Makes room for sign-in codes that belong to who asked for them, and for counters of several lengths.
-- oldest code: 1
--
-- auth_codes and rate_counters stay for servers of the release before, which run beside newer ones during a rollout.

-- One row a request: its code and its tries are its own, so that nobody who asks for the same number can spend them.
CREATE TABLE code_requests (
    request_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    phone_number       text NOT NULL,
    -- What counts as one client; empty: of the release before, which did not keep it.
    address            text NOT NULL,
    -- SHA-256 of the code_id that only the requester got.
    secret_hash        bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    code_hmac          bytea NOT NULL,
    -- With the code_id, and without it by the address alone: who shares the address spends only the latter.
    tries_left         smallint NOT NULL,
    address_tries_left smallint NOT NULL,
    -- Codes in a row that this address asked for the number and nobody used, this one included.
    sends              smallint NOT NULL DEFAULT 1,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at         timestamptz NOT NULL
);
CREATE INDEX code_requests_phone_number ON code_requests (phone_number, address, request_id);
CREATE INDEX code_requests_expires_at ON code_requests (expires_at);

INSERT INTO code_requests (phone_number, address, secret_hash, code_hmac, tries_left, address_tries_left, sends,
    created_at, expires_at)
SELECT phone_number, '', sha256(convert_to(gen_random_uuid()::text, 'UTF8')), code_hmac, 0, tries_left, sends,
    created_at, expires_at
FROM auth_codes WHERE expires_at > now();

-- Events until `ends_at`. Empty phone_number: of all numbers; empty address: of all addresses.
CREATE TABLE code_counters (
    phone_number text NOT NULL,
    address      text NOT NULL,
    kind         text NOT NULL,
    events       integer NOT NULL,
    ends_at      timestamptz NOT NULL,
    PRIMARY KEY (phone_number, address, kind)
) WITH (fillfactor = 60);
CREATE INDEX code_counters_ends_at ON code_counters (ends_at);

-- What is over is swept by time.
CREATE INDEX ws_tickets_expires_at ON ws_tickets (expires_at);
CREATE INDEX auth_codes_expires_at ON auth_codes (expires_at);
CREATE INDEX rate_counters_hour_start ON rate_counters (hour_start);

-- The row that tells a user's devices of a sign-in, or of wrong codes.
-- NOT VALID: new rows are checked, and old ones, which obey the narrower check, need not be read under a lock.
ALTER TABLE messages DROP CONSTRAINT messages_kind_check;
ALTER TABLE messages ADD CONSTRAINT messages_kind_check CHECK (
    kind IN ('message', 'edit', 'delete', 'reaction', 'member', 'group', 'hide', 'block', 'profile', 'sign_in'))
    NOT VALID;
