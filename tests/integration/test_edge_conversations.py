"""Edits, deletions, reactions and blocks at the edge: addresses, statuses, and frames to all devices concerned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.support.devices import sign_in

if TYPE_CHECKING:
    import httpx

    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

ASTRONAUT = "\U0001f468\u200d\U0001f680"
"""Three code points that are one emoji."""


def answer_of(call: httpx.Response) -> Any:
    assert call.status_code == 200, call.text
    return call.json()


async def test_changes_reach_all_devices_concerned_and_no_other(process: ServerProcess) -> None:
    ana, ben = await sign_in(process, "ana"), await sign_in(process, "ben")
    ben_phone = await sign_in(process, phone_number=ben.phone_number)
    async with ana.socket(process) as at_ana, ben.socket(process) as at_ben, ben_phone.socket(process) as at_phone:
        ack = await at_ana.message("helo", to="ben")
        chat_id = ack["chat_id"]
        message = f"/api/chats/{chat_id}/messages/1"
        async with ana.http(process) as by_ana, ben.http(process) as by_ben:
            assert (answer_of(await by_ana.patch(message, json={"text": "hello"}))) == {
                "chat_id": chat_id,
                "seq": 2,
            }
            for socket in (at_ana, at_ben, at_phone):
                event = await socket.of_type("event", chat_id=chat_id, seq=2)
                assert (event["kind"], event["target_seq"], event["text"], event["by"]) == (
                    "edit",
                    1,
                    "hello",
                    ana.user_id,
                )
            reaction = f"{message}/reactions/{quote(ASTRONAUT)}"
            assert (answer_of(await by_ben.put(reaction)))["seq"] == 3
            assert (answer_of(await by_ben.put(reaction)))["seq"] is None
            event = await at_ana.of_type("event", chat_id=chat_id, seq=3)
            assert (event["kind"], event["action"], event["emoji"]) == ("reaction", "added", ASTRONAUT)
            rows = (await by_ana.get("/api/messages")).json()
            assert [row["reactions"] for row in rows] == [[{"emoji": ASTRONAUT, "user_ids": [ben.user_id]}]]
            assert (answer_of(await by_ben.delete(reaction)))["seq"] == 4
            await at_ana.of_type("event", chat_id=chat_id, seq=4, action="removed")

            await at_ana.message("second", chat_id=chat_id)
            hidden = answer_of(await by_ben.delete(f"/api/chats/{chat_id}/messages/5?for=me"))
            for socket in (at_ben, at_phone):
                event = await socket.of_type("event", chat_id=hidden["chat_id"], seq=2)
                assert (event["kind"], event["target_chat_id"], event["target_seq"]) == ("hide", chat_id, 5)
            assert [row["seq"] for row in (await by_ben.get(f"/api/chats/{chat_id}/messages")).json()] == [1, 2, 3, 4]

            assert (answer_of(await by_ana.delete(message)))["seq"] == 6
            for socket in (at_ana, at_ben, at_phone):
                event = await socket.of_type("event", chat_id=chat_id, seq=6, target_seq=1)
                assert event["kind"] == "delete"

            block = f"/api/blocks/{ana.user_id}"
            assert (answer_of(await by_ben.put(block))) == {"chat_id": hidden["chat_id"], "seq": 3}
            assert (answer_of(await by_ben.put(block)))["seq"] is None
            assert (answer_of(await by_ben.get("/api/blocks"))) == {"user_ids": [ana.user_id]}
            event = await at_phone.of_type("event", action="blocked", user_ids=[ana.user_id])
            assert (event["kind"], event["chat_id"]) == ("block", hidden["chat_id"])
            refused = await at_ana.message("blocked", chat_id=chat_id)
            assert (refused["type"], refused["code"]) == ("error", "blocked")
            by_rest = await by_ana.post("/api/messages", json={"to": "ben", "text": "x"})
            assert (by_rest.status_code, by_rest.json()["code"]) == (403, "blocked")
            assert (answer_of(await by_ben.delete(block)))["seq"] == 4
            assert (await at_ana.message("again", chat_id=chat_id))["type"] == "ack"
            await at_phone.text("again")
        # What is nobody else's went to nobody else.
        assert {frame["kind"] for frame in at_ana.frames if frame["type"] == "event"} == {"edit", "reaction", "delete"}
        # In order and each once, the own chat included.
        for chat in (chat_id, hidden["chat_id"]):
            seqs = [seq for at_chat, seq in at_phone.rows() if at_chat == chat]
            assert seqs == sorted(set(seqs))
    # A device that was away is healed by a sync.
    async with ben_phone.socket(process) as socket:
        await socket.send(type="sync", chats={str(chat_id): 6, str(hidden["chat_id"]): 0})
        await socket.of_type("synced")
        kinds = [(frame["kind"], frame["seq"]) for frame in socket.frames if frame["type"] == "event"]
        assert kinds == [("sign_in", 1), ("hide", 2), ("block", 3), ("block", 4)]


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "status", "code", "field"),
    [
        ("ann", "PATCH", "{m}", {"text": ""}, 422, "validation_failed", "text"),
        ("ann", "PATCH", "{m}", {"text": 5}, 422, "validation_failed", "text"),
        ("ann", "PATCH", "{m}", {"txt": "x"}, 422, "validation_failed", None),
        ("bea", "PATCH", "{m}", {"text": "x"}, 403, "forbidden", None),
        ("eve", "PATCH", "{m}", {"text": "x"}, 404, "chat_not_found", None),
        ("ann", "PATCH", "{c}/messages/99", {"text": "x"}, 404, "message_not_found", None),
        ("ann", "PATCH", "{c}/messages/x", {"text": "x"}, 422, "validation_failed", "seq"),
        ("ann", "PATCH", "/api/chats/x/messages/1", {"text": "x"}, 422, "validation_failed", "chat_id"),
        ("ann", "POST", "{m}", {"text": "x"}, 405, "method_not_allowed", None),
        ("bea", "DELETE", "{m}", None, 403, "forbidden", None),
        ("eve", "DELETE", "{m}", None, 404, "chat_not_found", None),
        ("eve", "DELETE", "{m}?for=me", None, 404, "chat_not_found", None),
        ("bea", "DELETE", "{c}/messages/99?for=me", None, 404, "message_not_found", None),
        ("bea", "DELETE", "{m}?for=them", None, 422, "validation_failed", "for"),
        ("bea", "DELETE", "{m}?fro=me", None, 422, "validation_failed", "fro"),
        ("bea", "PUT", "{m}/reactions/a", None, 422, "validation_failed", "emoji"),
        ("bea", "PUT", "{m}/reactions/1", None, 422, "validation_failed", "emoji"),
        ("bea", "PUT", "{m}/reactions/%FF%FE", None, 400, "bad_request", None),
        ("bea", "PUT", "{m}/reactions/%00", None, 400, "bad_request", None),
        ("bea", "PUT", "{m}/reactions/" + "%F0%9F%91%8D" * 17, None, 422, "validation_failed", "emoji"),
        ("bea", "DELETE", "{m}/reactions/a", None, 422, "validation_failed", "emoji"),
        ("eve", "PUT", "{m}/reactions/%F0%9F%91%8D", None, 404, "chat_not_found", None),
        ("bea", "PUT", "{c}/messages/99/reactions/%F0%9F%91%8D", None, 404, "message_not_found", None),
        ("bea", "PUT", "/api/blocks/999999999", None, 404, "user_not_found", None),
        ("bea", "PUT", "/api/blocks/x", None, 422, "validation_failed", "user_id"),
        ("bea", "PUT", "/api/blocks/{bea}", None, 422, "validation_failed", "user_id"),
        ("bea", "DELETE", "/api/blocks/999999999", None, 404, "user_not_found", None),
    ],
)
async def test_what_is_refused(
    process: ServerProcess,
    who: str,
    method: str,
    path: str,
    body: Any,
    status: int,
    code: str,
    field: str | None,
) -> None:
    names = {name: await sign_in(process) for name in ("ann", "bea", "eve")}
    async with names["ann"].http(process) as http:
        sent = await http.post("/api/messages", json={"to": names["bea"].phone_number, "text": "x"})
    chat = f"/api/chats/{sent.json()['chat_id']}"
    async with names[who].http(process) as http:
        url = path.format(m=f"{chat}/messages/1", c=chat, bea=names["bea"].user_id)
        answer = await http.request(method, url, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if field is not None:
        assert [error["path"] for error in answer.json()["errors"]] == [field]


async def test_each_call_needs_a_token(process: ServerProcess) -> None:
    ann = await sign_in(process)
    ann.token = "nonsense"
    message = "/api/chats/1/messages/1"
    calls = [
        ("PATCH", message), ("DELETE", message),
        ("PUT", f"{message}/reactions/x"), ("DELETE", f"{message}/reactions/x"),
        ("GET", "/api/blocks"), ("PUT", "/api/blocks/1"), ("DELETE", "/api/blocks/1"),
    ]  # fmt: skip
    async with ann.http(process) as http:
        for method, path in calls:
            assert (await http.request(method, path)).status_code == 401, path
