"""The role that reads statistics, and the list of metrics: decisions, without a server."""

from __future__ import annotations

from postgresagent import metrics, monitor, roles

NOTHING = roles.Found({"pg_monitor": {}}, frozenset(), frozenset({"chat"}))


def test_a_role_without_a_password_is_made_for_statistics() -> None:
    made = monitor.statements("chat", NOTHING)
    assert made[0] == "CREATE ROLE chat_monitor LOGIN CONNECTION LIMIT 3"
    assert "GRANT pg_monitor TO chat_monitor" in made
    assert "ALTER ROLE chat_monitor SET statement_timeout = 4000" in made
    assert made[-1] == 'GRANT CONNECT ON DATABASE "chat" TO chat_monitor'
    assert not [statement for statement in made if "PASSWORD" in statement or "reserved" in statement]


def test_a_role_that_is_right_is_left_alone_and_a_password_of_others_is_removed() -> None:
    live = {"login": True, "verifier": None, "settings": [*monitor.SETTINGS]}
    granted = frozenset((monitor.ROLE, role) for role in monitor.MEMBER_OF)
    others: dict[str, dict[str, object]] = {role: {} for role in monitor.MEMBER_OF}
    right = roles.Found({monitor.ROLE: live, **others}, granted, frozenset({"chat"}), frozenset({"chat"}))
    assert monitor.statements("chat", right) == []
    damaged = roles.Found({**right.roles, monitor.ROLE: {**live, "verifier": "x"}}, *_rest(right))
    assert monitor.statements("chat", damaged) == ["ALTER ROLE chat_monitor LOGIN PASSWORD NULL"]


def _rest(found: roles.Found) -> tuple[frozenset[tuple[str, str]], frozenset[str], frozenset[str]]:
    return found.memberships, found.databases, found.monitored


def test_a_page_has_the_type_of_each_metric() -> None:
    page = metrics.page({metric.name: [[*metric.labels, 1]] for metric in metrics.METRICS}).decode()
    assert all(f"# TYPE {metric.name} {metric.type}\n" in page for metric in metrics.METRICS)


def test_what_has_no_value_is_not_on_the_page() -> None:
    assert metrics.page({}) == b""
    page = metrics.page({"chatpostgres_table_bytes": [["a", None], ["b", 2]], "chatpostgres_up": None}).decode()
    assert [line for line in page.splitlines() if line[0] != "#"] == ['chatpostgres_table_bytes{table="b"} 2.0']
