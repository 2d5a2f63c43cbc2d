"""Who has left a group keeps what they saw of it, and is shown nothing that was written since; deletions they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.devices import Device, sign_in

if TYPE_CHECKING:
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

Row = dict[str, Any]


async def call(server: ServerProcess, device: Device, method: str, path: str, json: object = None) -> Any:
    async with device.http(server) as http:
        answer = await http.request(method, path, json=json)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


async def read(server: ServerProcess, device: Device, chat_id: int) -> dict[str, list[Row]]:
    """Return the rows of a chat that a user gets, by each way there is."""
    history = await call(server, device, "GET", f"/api/chats/{chat_id}/messages")
    polled = await call(server, device, "GET", "/api/messages?events=true")
    listed = (await call(server, device, "GET", "/api/chats"))["chats"]
    one = await call(server, device, "GET", f"/api/chats/{chat_id}")
    synced = {
        # Answered with others, and, for who names many chats, alone.
        "sync together": await sync(server, device, {}),
        "sync alone": await sync(server, device, {str(10**9 + number): 1 for number in range(100)}),
    }
    return {
        "history": history,
        "poll": [row for row in polled if row["chat_id"] == chat_id],
        "list": [chat["last_message"] for chat in listed if chat["chat_id"] == chat_id],
        "chat": [one["last_message"]],
        **{way: [row for row in rows if row["chat_id"] == chat_id] for way, rows in synced.items()},
    }


async def sync(server: ServerProcess, device: Device, have: dict[str, int]) -> list[Row]:
    async with device.socket(server) as socket:
        await socket.send(type="sync", chats=have)
        await socket.of_type("synced")
        return [frame.get("message", frame) for frame in socket.frames if frame["type"] in {"message", "event"}]


def message(rows: list[Row]) -> tuple[str | None, list[str], bool]:
    """Return the text of the first message, the emojis on it, and whether it counts as edited."""
    (row,) = [row for row in rows if row["kind"] == "message"]
    return row["text"], [reaction["emoji"] for reaction in row["reactions"]], row["edited_at"] is not None


async def sees(server: ServerProcess, device: Device, chat_id: int, wanted: tuple[str | None, list[str], bool]) -> None:
    found = await read(server, device, chat_id)
    assert {way: message(rows) for way, rows in found.items()} == dict.fromkeys(found, wanted)
    # An edit shows the text that its message has.
    edits = {way: [row.get("text") for row in rows if row["kind"] == "edit"] for way, rows in found.items()}
    assert all(text == wanted[0] for texts in edits.values() for text in texts), edits


async def test_edits_and_reactions_after_a_removal_do_not_reach_the_removed_and_deletions_do(
    process: ServerProcess,
) -> None:
    ana, ben, carl, dora = [await sign_in(process, name) for name in ("ana", "ben", "carl", "dora")]
    made = await call(process, ana, "POST", "/api/groups", {"group_name": "All", "members": ["ben", "carl", "dora"]})
    group = made["group_id"]
    sent = await call(process, ana, "POST", "/api/messages", {"chat_id": group, "text": "first"})
    place = f"/api/chats/{group}/messages/{sent['seq']}"
    await call(process, ana, "PATCH", place, {"text": "second"})
    await call(process, dora, "PUT", f"{place}/reactions/%F0%9F%91%8D")
    await sees(process, ben, group, ("second", ["👍"], True))

    await call(process, ana, "DELETE", f"/api/groups/{group}/members/{ben.user_id}")
    await call(process, ana, "PATCH", place, {"text": "third"})
    await call(process, carl, "PUT", f"{place}/reactions/%F0%9F%8E%89")
    await sees(process, ben, group, ("second", ["👍"], True))
    await sees(process, carl, group, ("third", ["🎉", "👍"], True))

    await call(process, carl, "DELETE", f"/api/groups/{group}/members/{carl.user_id}")
    await call(process, dora, "DELETE", f"{place}/reactions/%F0%9F%91%8D")
    await call(process, ana, "PATCH", place, {"text": "fourth"})
    await sees(process, ben, group, ("second", ["👍"], True))
    await sees(process, carl, group, ("third", ["🎉", "👍"], True))
    await sees(process, dora, group, ("fourth", ["🎉"], True))

    # Who is a member again sees the group as the others do.
    await call(process, ana, "POST", f"/api/groups/{group}/members/{carl.user_id}")
    await sees(process, carl, group, ("fourth", ["🎉"], True))

    await call(process, ana, "DELETE", place)
    for device in (ben, carl, dora):
        await sees(process, device, group, (None, [], True))


async def test_who_left_before_a_message_was_edited_at_all_sees_it_unedited(process: ServerProcess) -> None:
    eve, finn = await sign_in(process, "eve"), await sign_in(process, "finn")
    made = await call(process, eve, "POST", "/api/groups", {"group_name": "Two", "members": ["finn"]})
    group = made["group_id"]
    sent = await call(process, eve, "POST", "/api/messages", {"chat_id": group, "text": "as it was"})
    await call(process, finn, "DELETE", f"/api/groups/{group}/members/{finn.user_id}")
    await call(process, eve, "PATCH", f"/api/chats/{group}/messages/{sent['seq']}", {"text": "since then"})
    await sees(process, finn, group, ("as it was", [], False))
    await sees(process, eve, group, ("since then", [], True))
