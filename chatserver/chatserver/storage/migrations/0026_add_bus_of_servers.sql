-- Lets each server know whether all others have the same bus: only then do their hints reach each other by it alone.
-- oldest code: 1

-- Servers of the release before have PostgreSQL's NOTIFY.
ALTER TABLE servers ADD COLUMN bus text NOT NULL DEFAULT 'PostgreSQL';
