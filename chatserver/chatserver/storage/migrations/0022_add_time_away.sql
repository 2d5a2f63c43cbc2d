-- Keeps what was said while a member was away apart from what they have hidden: the former is not theirs to read.
-- oldest code: 1

-- A part of `absent`.
ALTER TABLE chat_members ADD COLUMN away int8multirange NOT NULL DEFAULT '{}';
