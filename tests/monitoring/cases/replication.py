"""Cases for monitoring/rules/replication.py."""

from tests.support.rulecases import Case, gauge

MIB = 2**20


def replica(number: int) -> str:
    return f'chatpostgres_replica_lag_bytes{{pod="a", replica="demo-postgres-{number}"}}'


CASES = [
    # The leader is lost, and neither replica takes over; near: one does.
    Case(
        "ChatDatabaseHasNoLeader",
        ("page",),
        {
            'chatpostgres_in_recovery{pod="a"}': gauge(0, None, None),
            'chatpostgres_in_recovery{pod="b"}': gauge(1, 1, 0),
            'chatpostgres_in_recovery{pod="c"}': gauge(1, 1),
        },
    ),
    # No agent answers.
    Case(
        "ChatDatabaseHasNoLeader",
        ("page",),
        {'chatcluster_condition{type="DatabaseReplicated", reason="NoLeader"}': gauge(0, 1)},
        brief=1,
    ),
    # Commits wait, and nobody is there to be waited for; near: a replica has them all, after some milliseconds.
    Case(
        "ChatDatabaseNotReplicated",
        ("page", "ticket"),
        {
            'chatpostgres_commits_waiting{pod="a"}': gauge(0, 3, 3),
            'chatpostgres_replica_synchronous{pod="a", replica="demo-postgres-1"}': gauge(1, None, 1),
            'chatcluster_condition{type="DatabaseReplicated", reason="WritesStopped"}': gauge(0, 1, 0),
        },
    ),
    Case(
        "ChatDatabaseNotReplicated",
        ("ticket",),
        {
            'chatcluster_condition{type="DatabaseReplicated", reason="OneCopy"}': gauge(0, 1),
            'chatpostgres_replica_lag_bytes{pod="a", replica="demo-postgres-1"}': gauge(0, None),
        },
        brief=9,
    ),
    # A replica runs without following; near: it is being restarted.
    Case(
        "ChatReplicaMissing",
        ("ticket",),
        {
            'chatpostgres_in_recovery{pod="a"}': gauge(0, 0),
            'chatpostgres_in_recovery{pod="b"}': gauge(1, 1),
            'chatpostgres_in_recovery{pod="c"}': gauge(1, 1),
            replica(1): gauge(0, 0),
            replica(2): gauge(0, None),
        },
        steps=(20, 25, 30),
        brief=14,
    ),
    # No replica is left that follows.
    Case(
        "ChatReplicaMissing",
        ("ticket",),
        {
            'chatpostgres_in_recovery{pod="a"}': gauge(0, 0),
            'chatpostgres_in_recovery{pod="b"}': gauge(1, 1),
            replica(1): gauge(0, None),
        },
        steps=(20, 25, 30),
        brief=14,
    ),
    # Its pod is gone.
    Case(
        "ChatReplicaMissing",
        ("ticket",),
        {'chatcluster_condition{type="DatabaseReplicated", reason="Copying"}': gauge(0, 1)},
        steps=(20, 25, 30),
        brief=14,
    ),
    Case("ChatReplicaBehind", ("ticket",), {replica(1): gauge(8192, 20 * MIB, 10 * MIB), replica(2): gauge(0, 0)}),
    Case(
        "ChatReplicaBehind",
        ("ticket",),
        {'chatpostgres_replay_lag_seconds{pod="b"}': gauge(0, 400, 200), replica(1): gauge(0, 0)},
    ),
    # Another instance leads, and 15 minutes later it is no news; near: the old leader is gone without one.
    Case(
        "ChatDatabaseFailedOver",
        ("info",),
        {
            'chatpostgres_timeline{pod="a"}': gauge(3, None, None),
            'chatpostgres_timeline{pod="b"}': gauge(3, 4, 3),
        },
        steps=(20, 10, 30),
    ),
]
