-- Makes room for how far users got in a chat of two while one of them blocked the other, which the other is not told.
-- oldest code: 1

-- NULL but for what was raised during a block and not since; never below delivered_seq and read_seq, which all are told.
ALTER TABLE chat_members ADD COLUMN own_delivered_seq bigint, ADD COLUMN own_read_seq bigint;
