-- Makes room for users who do not show what they have read.
-- oldest code: 1

-- Since when a user has shown none; NULL: they show them. Messages of the user from then on are shown as delivered at
-- most, so that a status never falls.
ALTER TABLE privacy ADD COLUMN receipts_off_since timestamptz;
