-- Makes room for the limit on phone numbers that users look up, and for the users whom they found by number.
-- oldest code: 1

-- One row for each user or address that has looked numbers up: when its allowance will be full again.
CREATE TABLE number_budgets (
    subject text PRIMARY KEY,
    full_at timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX number_budgets_full_at ON number_budgets (full_at);

-- Whom a user has found by number: to find them again costs nothing, until they change their number.
CREATE TABLE found_numbers (
    user_id  bigint NOT NULL,
    found_id bigint NOT NULL,
    PRIMARY KEY (user_id, found_id)
);
CREATE INDEX found_numbers_found_id ON found_numbers (found_id);
