"""What the agent makes of Patroni's answers and of PostgreSQL's WAL, without either."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from postgresagent import epoch, labels, patroni, replication, roles, takeover, verifiers
from postgresagent.member import Member, member

CLUSTER: dict[str, Any] = {
    "members": [
        {"name": "one", "role": "leader", "state": "running", "timeline": 3},
        {"name": "two", "role": "quorum_standby", "state": "streaming", "timeline": 3, "lag": 16},
        {"name": "three", "role": "replica", "state": "creating replica", "lag": "unknown", "pending_restart": True},
    ]
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one", Member("primary", "running", 3, None, None, pending_restart=False, paused=False, leader="one")),
        (
            "two",
            Member("replica", "streaming", 3, 16, synchronous=True, pending_restart=False, paused=False, leader="one"),
        ),
        (
            "three",
            Member(
                "replica",
                "creating replica",
                None,
                None,
                synchronous=False,
                pending_restart=True,
                paused=False,
                leader="one",
            ),
        ),
    ],
)
def test_a_member_is_what_patroni_says_of_it(name: str, expected: Member) -> None:
    assert member(name, {}, CLUSTER) == expected


def test_a_member_is_known_while_the_api_server_is_unavailable() -> None:
    own = {"role": "primary", "state": "running", "timeline": 3, "pause": True}
    expected = Member("primary", "running", 3, None, None, pending_restart=False, paused=True, leader=None)
    assert member("one", own, {}) == expected


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["COMMIT", "CHECKPOINT_SHUTDOWN"], True),
        (["CHECKPOINT_SHUTDOWN", "RUNNING_XACTS", "CHECKPOINT_SHUTDOWN"], True),
        (["COMMIT"], False),
        (["CHECKPOINT_SHUTDOWN", "COMMIT"], False),
        # The first one ends the recovery from a crash.
        (["CHECKPOINT_SHUTDOWN", "CHECKPOINT_SHUTDOWN"], False),
        ([], False),
    ],
)
def test_nothing_is_lost_where_the_last_record_is_a_shutdown(kinds: list[str], *, expected: bool) -> None:
    lines = [
        f"rmgr: XLOG len (rec/tot): 114/ 114, tx: 0, lsn: 0/01, prev 0/00, desc: {kind} redo 0/1;" for kind in kinds
    ]
    assert epoch.is_whole("\n".join(lines)) is expected


def test_a_timeline_has_the_epoch_of_its_parent_or_its_own() -> None:
    assert "timeline = '00000005', epoch_timeline = CASE WHEN timeline = '00000004' " in epoch.statement(5, 4)
    assert "ELSE '00000004' END WHERE timeline IS DISTINCT FROM '00000005'" in epoch.statement(5, 4)
    assert "ELSE '00000005' END WHERE timeline IS DISTINCT FROM '00000005'" in epoch.statement(5, None)


def test_the_last_line_of_a_history_is_the_last_switch() -> None:
    assert epoch.switch("1\t0/3000000\tno recovery target specified\n\n2\t1/A0\treason\n") == epoch.Switch(2, "1/A0")
    assert epoch.switch("") is None
    assert epoch.before("1/A0", 0x100) == "0/FFFFFFA0"
    assert epoch.before("0/10", 0x100) == "0/0"
    assert epoch.segment(1, "0/1CE1638") == "000000010000000000000001"
    assert epoch.segment(18, "2/FF000000") == "0000001200000002000000FF"


def test_the_role_of_replication_is_made_once() -> None:
    nothing = roles.Found({}, frozenset(), frozenset())
    made = replication.statements("secret", nothing)
    assert made[0] == "CREATE ROLE chat_replication REPLICATION"
    assert "LOGIN PASSWORD" in made[-1]
    assert not any("secret" in statement for statement in made)
    verifier = verifiers.make("secret", base64.b64decode("c2FsdHNhbHQ="))
    live = {"chat_replication": {"replication": True, "login": True, "verifier": verifier}}
    assert replication.statements("secret", roles.Found(live, frozenset(), frozenset(), rewinds=True)) == []


def test_patroni_never_begins_a_database_and_writes_nothing_for_postgresql_into_its_folder() -> None:
    environment = {
        "PATRONI_SCOPE": "demo-postgres",
        "PATRONI_NAME": "demo-postgres-0",
        "PGDATA": "/v/pgdata",
        "POD_IP": "::1",
        "PATRONI_KUBERNETES_NAMESPACE": "chat",
        "PATRONI_KUBERNETES_LABELS": '{"name": "chatcluster", "instance": "demo"}',
        "PATRONI_KUBERNETES_SCOPE_LABEL": "database",
    }
    made = patroni.settings(environment, "/scratch", {"chat_replication": "r", "patroni": "p"}, volume_bytes=10 * 2**30)
    assert "bootstrap" not in made
    assert made["postgresql"]["parameters"]["max_slot_wal_keep_size"] == "2560MB", "a replica fills no leader's volume"
    assert made["restapi"]["connect_address"] == "[::1]:8008"
    database = made["postgresql"]
    assert not any(str(database[key]).startswith("/v/") for key in ("config_dir", "custom_conf", "pgpass"))
    selector = "name=chatcluster,instance=demo,database=demo-postgres"
    command = f"python3 -m postgresagent role chat {selector} demo-postgres-0"
    assert database["callbacks"] == {"on_role_change": command}


def test_the_leaders_label_goes_from_each_pod_that_does_not_lead() -> None:
    def pod(name: str, role: str | None) -> dict[str, Any]:
        own = {"a": "b"} | ({labels.ROLE_LABEL: role} if role else {})
        return {"metadata": {"name": name, "resourceVersion": "7", "labels": own}}

    pods = [pod("one", "primary"), pod("two", "primary"), pod("three", "replica"), pod("four", None)]
    removed = {"metadata": {"resourceVersion": "7", "labels": {labels.ROLE_LABEL: None}}}
    assert list(takeover.pods_to_correct(pods, "two")) == [("one", removed)]
