-- Keeps cursors valid after a promotion by which nothing was lost: then the agent beside the new leader writes of which
-- timeline the epoch continues. A timeline is written as the names of WAL files begin: 00000002.
-- oldest code: 1

ALTER TABLE meta ADD COLUMN timeline text;
ALTER TABLE meta ADD COLUMN epoch_timeline text;

-- The agent's role is only there where the operator runs the database.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'chat_monitor') THEN
        GRANT SELECT, UPDATE (timeline, epoch_timeline) ON meta TO chat_monitor;
    END IF;
END
$$;

-- Cursors hold transaction ids, which mean nothing after a restore or a failover. So the epoch changes with the
-- cluster (initdb), the database (dropped and restored), and the timeline (point-in-time recovery, promotion), unless
-- the agent has found that the new timeline begins where the old one ended.
CREATE OR REPLACE FUNCTION chat_epoch() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT left(md5(concat_ws('/',
        (SELECT epoch FROM meta),
        (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        coalesce(
            (SELECT epoch_timeline FROM meta WHERE timeline = left(pg_walfile_name(pg_current_wal_lsn()), 8)),
            left(pg_walfile_name(pg_current_wal_lsn()), 8)))), 16)
$$;
