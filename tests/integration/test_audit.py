"""The audit log: every act once, in the transaction of what it tells of, without secrets, for a bounded time."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import InvalidCode, NotAnAdmin, UsernameTaken, ValidationFailed
from chatserver.fleet import housekeeping
from chatserver.messaging import groups
from chatserver.messaging.group_edits import GroupChange, change_group
from chatserver.messaging.invites import create_invite, join_group, revoke_invite
from tests.support.devices import sign_in as sign_in_at
from tests.support.people import Server, make_accounts, new_number, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

PAGE = (Path(__file__).parents[2] / "docs" / "audit-log.md").read_text(encoding="utf-8")
KEY = b"k" * 32


async def trail(server: Server, after: int = 0) -> list[tuple[Any, ...]]:
    """Return (action, user_id, device_id, chat_id, detail) of the events, the oldest first."""
    rows = await server.database.fetch(
        "SELECT action, user_id, device_id, chat_id, detail FROM audit_events ORDER BY event_id OFFSET $1", after
    )
    return [(*row[:4], json.loads(row[4]) if row[4] else {}) for row in rows]


async def test_signing_in_and_failing_to_are_kept_with_a_masked_number(server: Server) -> None:
    accounts = make_accounts(server.database, KEY)
    number = new_number()
    masked = number[:3] + "*******" + number[-2:]
    request = await accounts.request_code(number, "192.0.2.1")
    with pytest.raises(InvalidCode):
        await accounts.create_session(number, "x", code_id=request.code_id, address="192.0.2.2")
    session = await accounts.create_session(number, request.code, code_id=request.code_id, address="192.0.2.3")
    # Nothing is known of who tries a number without a code, and there is no bound to it.
    with pytest.raises(InvalidCode):
        await accounts.create_session(number, request.code)
    user_id = session.user.user_id
    devices = Devices(server.database)
    other = await sign_in(server.database, None, number)
    await devices.revoke(user_id, other.device_id, by_device_id=session.device_id)
    await devices.revoke(user_id, session.device_id, by_device_id=session.device_id)
    assert await trail(server) == [
        ("code_refused", None, None, None, {"phone_number": masked, "address": "192.0.2.2"}),
        ("signed_in", user_id, session.device_id, None, {"phone_number": masked, "address": "192.0.2.3"}),
        ("signed_in", user_id, other.device_id, None, {"phone_number": masked, "address": "unknown"}),
        ("device_revoked", user_id, other.device_id, None, {"by_device_id": session.device_id}),
        ("signed_out", user_id, session.device_id, None, {}),
    ]


async def test_what_failed_leaves_no_event(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    group = await groups.create_group(server.database, ada.user.user_id, "G", ["Bob"])
    accounts = make_accounts(server.database, KEY)
    request = await accounts.request_code(new_number(), "192.0.2.1")
    before = len(await trail(server))
    with pytest.raises(UsernameTaken):
        await accounts.create_session(request.phone_number, request.code, username="ADA", code_id=request.code_id)
    with pytest.raises(NotAnAdmin):
        await change_group(server.database, bob.user.user_id, group.group_id, GroupChange(group_name="Bob's"))
    with pytest.raises(ValidationFailed):
        await groups.set_role(server.database, ada.user.user_id, group.group_id, ada.user.user_id, "member")
    # Nor does what changed nothing.
    await change_group(server.database, ada.user.user_id, group.group_id, GroupChange(group_name="G"))
    await groups.add_member(server.database, ada.user.user_id, group.group_id, bob.user.user_id)
    assert await trail(server, before) == []


async def test_group_administration_and_deletion_are_kept_and_documented(server: Server) -> None:
    ada, bob, eve = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Eve")]
    a, b, e = ada.user.user_id, bob.user.user_id, eve.user.user_id
    before = len(await trail(server))
    group = (await groups.create_group(server.database, a, "A name", ["Bob"])).group_id
    await change_group(server.database, a, group, GroupChange(group_name="Another name"))
    await change_group(server.database, a, group, GroupChange(description="Secret", who_may_edit="everyone"))
    await groups.add_member(server.database, a, group, e)
    await groups.set_role(server.database, a, group, b, "admin")
    await groups.remove_member(server.database, e, group, e)
    made = await create_invite(server.database, a, group)
    invite_id = made.invite.invite_id
    await join_group(server.database, e, made.code)
    await revoke_invite(server.database, b, group, invite_id)
    await groups.remove_member(server.database, b, group, e)
    await groups.remove_member(server.database, b, group, b)
    deleting = Deletions(server.database, Devices(server.database))
    await deleting.delete_account(await Devices(server.database).authenticate(ada.token))
    await deleting.sweep()
    masked = ada.user.phone_number[:3] + "*******" + ada.user.phone_number[-2:]
    found = await trail(server, before)
    assert found == [
        ("group_created", a, None, group, {"members": 2}),
        ("group_renamed", a, None, group, {}),
        ("group_changed", a, None, group, {"fields": ["description", "who_may_edit"]}),
        ("group_member_added", a, None, group, {"member_id": e}),
        ("group_role_set", a, None, group, {"member_id": b, "role": "admin"}),
        ("group_left", e, None, group, {"member_id": e}),
        ("group_invite_created", a, None, group, {"invite_id": invite_id}),
        ("group_joined", e, None, group, {"invite_id": invite_id}),
        ("group_invite_revoked", b, None, group, {"invite_id": invite_id}),
        ("group_member_removed", b, None, group, {"member_id": e}),
        ("group_left", b, None, group, {"member_id": b}),
        ("account_deleted", a, ada.device_id, None, {"phone_number": masked, "devices": 1}),
        ("group_left", a, None, group, {"member_id": a}),
    ]
    documented = set(
        re.findall(r"`([a-z_]+)`", "\n".join(line.split("|")[1] for line in PAGE.splitlines() if "|" in line))
    )
    actions = {event[0] for event in await trail(server)}
    assert actions <= documented
    assert documented - actions <= {
        "action",
        "code_refused",
        "signed_out",
        "device_revoked",
        "number_changed",
        "pin_set",
        "pin_removed",
        "pin_refused",
    }


async def test_the_documented_queries_run_and_use_their_index(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    page = PAGE.replace("user_id = 1 ", f"user_id = {ada} ")
    queries = re.findall(r"^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(queries) == 3
    for query in queries:
        plan = await server.database.fetch("EXPLAIN " + query)
        assert "Seq Scan" not in "\n".join(row[0] for row in plan), query
        await server.database.fetch(query)
    assert (await server.database.fetch(queries[0]))[0]["action"] == "signed_in"


async def test_old_events_are_deleted_in_bounded_bites(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await server.database.execute(
        "INSERT INTO audit_events (action, at) SELECT 'signed_in', now() - make_interval(days => d) "
        "FROM unnest(ARRAY[1, 89, 91, 92, 93, 94, 95]) AS d"
    )
    monkeypatch.setattr(housekeeping, "AUDIT_BATCH", 2)
    monkeypatch.setattr(housekeeping, "AUDIT_BATCHES", 2)
    assert await housekeeping.delete_old_events(server.database, 90) == 4
    assert await housekeeping.delete_old_events(server.database, 90) == 1
    assert await housekeeping.delete_old_events(server.database, 90) == 0
    assert len(await trail(server)) == 2


async def test_each_event_is_one_log_line_with_the_requests_id(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "one") as server:
        server.wait_ready()
        ana = await sign_in_at(server, "ana")
        async with httpx.AsyncClient(base_url=server.url, verify=NO_TLS, trust_env=False) as http:
            made = await http.post("/api/auth/code", json={"phone_number": ana.phone_number})
            refused = await http.post(
                "/api/auth/session",
                json={"phone_number": ana.phone_number, "code": "x", "code_id": made.json()["code_id"]},
                headers={"X-Request-Id": "a-wrong-try", "X-Forwarded-For": "198.51.100.7"},
            )
            assert (made.status_code, refused.status_code) == (202, 401)
        async with ana.http(server) as http:
            assert (await http.post("/api/groups", json={"group_name": "A name", "members": []})).status_code == 201
            assert (await http.delete("/api/auth/session")).status_code == 204
        await asyncio.sleep(0)
        lines = [event for event in server.events() if event["event"] == "audit"]
        assert [line["action"] for line in lines] == ["signed_in", "code_refused", "group_created", "signed_out"]
        assert (lines[0]["user_id"], lines[0]["device_id"]) == (ana.user_id, ana.device_id)
        assert (lines[1]["request_id"], lines[1]["address"]) == ("a-wrong-try", "198.51.100.7")
        text = server.log_text()
        for secret in (ana.phone_number, ana.phone_number[1:], ana.token, f'"{made.json()["dev_code"]}"', "A name"):
            assert secret not in text
