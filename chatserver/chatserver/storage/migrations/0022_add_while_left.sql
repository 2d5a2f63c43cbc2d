-- Keeps what was said between two memberships apart from what a member has hidden: the former is not theirs to read.
-- oldest code: 1

-- A part of `absent`.
ALTER TABLE chat_members ADD COLUMN while_left int8multirange NOT NULL DEFAULT '{}';
