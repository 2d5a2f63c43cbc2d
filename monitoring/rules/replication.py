"""Alerts on a database of several instances: who leads, who follows, and whether commits are on a second one."""

from __future__ import annotations

from monitoring.rules.declared import CHAT, Alert, Group, Severity

LAG_BYTES = 16 * 2**20
"""A segment of WAL: Patroni lets a replica that lacks more become the leader only where commits waited for it
(LAG_BYTES_MAX of the operator). A replica that follows lacks some KiB."""

_REASON = 'max by (namespace, chatcluster) (chatcluster_condition{{type="DatabaseReplicated", reason=~"{}"}}) == 1'
"""What the operator says; the other half of each rule is what the agents say, also while the operator is down."""

_FOLLOWS = "The runbook says how to find out why a replica does not follow, and how to have it copied again."

GROUPS = (
    Group(
        "chatcluster-replication",
        "30s",
        (
            Alert(
                "ChatDatabaseHasNoLeader",
                Severity.PAGE,
                # Of a single instance it is always 0.
                f"min by (namespace, chatcluster) (chatpostgres_in_recovery) == 1\nor\n{_REASON.format('NoLeader')}",
                "1m",
                f"No instance of the database of {CHAT} takes writes",
                "After the loss of a leader another instance leads within 30 s; this lasts longer. Users can neither "
                "send nor sign in; their clients keep unsent messages and retry. Delete no volume: one that does not "
                "lead may have the only copy. Run kubectl describe chatcluster: DatabaseReplicated says why the "
                "instances are not ready.",
            ),
            Alert(
                "ChatDatabaseNotReplicated",
                Severity.PAGE,
                "(\n"
                "max by (namespace, chatcluster) (max_over_time(chatpostgres_commits_waiting[2m])) > 0\n"
                "unless\n"
                "max by (namespace, chatcluster) (chatpostgres_replica_synchronous) == 1\n"
                ")\n"
                "or\n" + _REASON.format("WritesStopped"),
                "2m",
                f"The database of {CHAT} waits for a replica",
                "No replica follows the leader, and no message is acknowledged before a second instance has it. Sends "
                "are answered with 503, reads work; no acknowledged message is lost. Bring a replica back: kubectl "
                "describe chatcluster says why none is ready.",
            ),
            Alert(
                "ChatDatabaseNotReplicated",
                Severity.TICKET,
                _REASON.format("OneCopy|WritesStopped"),
                "10m",
                f"The database of {CHAT} has one copy only",
                "No replica follows the leader. Where messages are acknowledged all the same, they are on one volume "
                f"only: if it is lost now, they are lost. {_FOLLOWS}",
            ),
            Alert(
                "ChatReplicaMissing",
                Severity.TICKET,
                "(\n"
                "sum by (namespace, chatcluster) (chatpostgres_in_recovery)\n"
                ">\n"
                "(\n"
                "count by (namespace, chatcluster) (chatpostgres_replica_lag_bytes)\n"
                "or\n"
                # A leader without replicas has none of these series.
                "0 * sum by (namespace, chatcluster) (chatpostgres_in_recovery)\n"
                ")\n"
                ")\n"
                "or\n" + _REASON.format("Copying|OneCopy|WritesStopped"),
                "15m",
                f"A replica of the database of {CHAT} does not follow",
                "An instance is not there, copies the database, or runs without getting what the leader writes. The "
                "chat works, but survives the loss of fewer instances than it should, and the leader may keep WAL for "
                f"the replica. A copy takes as long as its size needs. {_FOLLOWS}",
            ),
            Alert(
                "ChatReplicaBehind",
                Severity.TICKET,
                f"max by (namespace, chatcluster) (chatpostgres_replica_lag_bytes) > {LAG_BYTES}\n"
                "or\n"
                "max by (namespace, chatcluster) (chatpostgres_replay_lag_seconds) > seconds(5m)",
                "10m",
                f"A replica of the database of {CHAT} is behind",
                "A replica has not stored what the leader wrote, or has stored it and not replayed it for minutes. No "
                "acknowledged message depends on it, but it cannot lead soon. Compare its disk, its CPU and its "
                "network with those of the others.",
            ),
            Alert(
                "ChatDatabaseFailedOver",
                Severity.INFO,
                "max by (namespace, chatcluster) (max_over_time(chatpostgres_timeline[5m]))\n"
                ">\n"
                "max by (namespace, chatcluster) (max_over_time(chatpostgres_timeline[5m] offset 15m))",
                "0s",
                f"Another instance leads the database of {CHAT}",
                "Within the last 15 minutes an instance was promoted: because the leader was lost, or because a "
                "change or an administrator switched over. After a loss all clients sync once. Nothing is to be done; "
                "if nobody caused it, find out why the old leader was lost.",
            ),
        ),
    ),
)
