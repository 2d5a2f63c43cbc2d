-- A script for psql, as the role chat_monitor. It selects one JSON object, which metrics.page takes: by metric a
-- number, or a list of [label, ..., number]. It reads catalogs only, and no table of the chat.
SELECT :SERVER_VERSION_NUM >= 170000 AS checkpointer \gset
\if :checkpointer
\set checkpoints 'SELECT num_timed AS timed, num_requested AS requested, write_time FROM pg_stat_checkpointer'
\else
\set checkpoints 'SELECT checkpoints_timed AS timed, checkpoints_req AS requested, '
\set checkpoints :checkpoints 'checkpoint_write_time AS write_time FROM pg_stat_bgwriter'
\endif
WITH own AS (SELECT * FROM pg_database WHERE datname = current_database()),
logins AS (SELECT member AS oid FROM pg_auth_members JOIN own ON roleid = datdba),
clients AS MATERIALIZED (
    SELECT pid, state, xact_start,
           CASE WHEN usename IN ('postgres', 'chat_monitor') OR usesysid IN (SELECT oid FROM logins) THEN usename
                ELSE 'other' END AS role
    FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
-- A size needs a lock that waits behind an exclusive one, held or awaited: such a table has none for now.
locked AS MATERIALIZED (
    SELECT coalesce(indrelid, relation) AS relid FROM pg_locks LEFT JOIN pg_index ON indexrelid = relation
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND database = (SELECT oid FROM own)),
tables AS MATERIALIZED (
    SELECT stat.relname, n_live_tup, n_dead_tup,
           extract(epoch FROM greatest(last_vacuum, last_autovacuum)) AS vacuumed,
           CASE WHEN stat.relid NOT IN (SELECT relid FROM locked) THEN pg_total_relation_size(stat.relid) END AS bytes
    FROM pg_stat_user_tables AS stat
    -- The chat has fewer tables, but an administrator may make any number.
    JOIN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace('public')
          ORDER BY relpages DESC, relname LIMIT 50) AS largest ON largest.oid = stat.relid),
counters AS (SELECT * FROM pg_stat_database WHERE datname = current_database()),
checkpoints AS (:checkpoints),
replicas AS MATERIALIZED (
    SELECT application_name AS name, sync_state IN ('sync', 'quorum') AS synchronous,
           greatest(pg_wal_lsn_diff(CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn() END, flush_lsn), 0) AS lag
    FROM pg_stat_replication WHERE state = 'streaming' AND application_name <> 'pg_basebackup')
SELECT json_build_object(
    'chatpostgres_start_time_seconds', extract(epoch FROM pg_postmaster_start_time()),
    'chatpostgres_backends', (SELECT json_agg(json_build_array(state, role, count))
        FROM (SELECT coalesce(state, 'unknown') AS state, role, count(*) FROM clients GROUP BY 1, 2) AS counted),
    'chatpostgres_max_connections', current_setting('max_connections')::int,
    'chatpostgres_longest_transaction_seconds',
        (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM clients),
    -- Commits of a busy chat wait for each other all the time, some milliseconds each.
    'chatpostgres_lock_waits', (SELECT count(DISTINCT pid) FROM pg_locks JOIN clients USING (pid)
        WHERE NOT granted AND waitstart < clock_timestamp() - interval '1 second'),
    'chatpostgres_deadlocks_total', (SELECT deadlocks FROM counters),
    'chatpostgres_commits_total', (SELECT xact_commit FROM counters),
    'chatpostgres_rollbacks_total', (SELECT xact_rollback FROM counters),
    'chatpostgres_blocks_hit_total', (SELECT blks_hit FROM counters),
    'chatpostgres_blocks_read_total', (SELECT blks_read FROM counters),
    'chatpostgres_temp_bytes_total', (SELECT temp_bytes FROM counters),
    'chatpostgres_database_bytes', pg_database_size(current_database()),
    'chatpostgres_xid_age', (SELECT max(age(datfrozenxid)) FROM pg_database),
    'chatpostgres_mxid_age', (SELECT max(mxid_age(datminmxid)) FROM pg_database),
    'chatpostgres_wal_bytes_total', (SELECT wal_bytes FROM pg_stat_wal),
    'chatpostgres_wal_full_page_images_total', (SELECT wal_fpi FROM pg_stat_wal),
    'chatpostgres_wal_directory_bytes', (SELECT sum(size) FROM pg_ls_waldir()),
    'chatpostgres_checkpoints_total', (SELECT json_build_array(
        json_build_array('timed', timed), json_build_array('requested', requested)) FROM checkpoints),
    'chatpostgres_checkpoint_write_seconds_total', (SELECT write_time / 1000 FROM checkpoints),
    'chatpostgres_notification_queue_ratio', pg_notification_queue_usage(),
    'chatpostgres_in_recovery', pg_is_in_recovery()::int,
    'chatpostgres_timeline', (SELECT timeline_id FROM pg_control_checkpoint()),
    'chatpostgres_replica_lag_bytes', (SELECT json_agg(json_build_array(name, lag)) FROM replicas),
    'chatpostgres_replica_synchronous', (SELECT json_agg(json_build_array(name, synchronous::int)) FROM replicas),
    'chatpostgres_commits_waiting', (SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'),
    'chatpostgres_replay_lag_seconds', CASE WHEN pg_is_in_recovery() THEN CASE
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END END,
    'chatpostgres_checksum_failures_total', (SELECT sum(checksum_failures) FROM pg_stat_database),
    'chatpostgres_table_live_rows', (SELECT json_agg(json_build_array(relname, n_live_tup)) FROM tables),
    'chatpostgres_table_dead_rows', (SELECT json_agg(json_build_array(relname, n_dead_tup)) FROM tables),
    'chatpostgres_table_bytes', (SELECT json_agg(json_build_array(relname, bytes)) FROM tables),
    'chatpostgres_table_last_vacuum_timestamp_seconds',
        (SELECT json_agg(json_build_array(relname, vacuumed)) FROM tables));
