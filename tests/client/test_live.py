"""The Python client against a scripted server on a real port: what it asks for again, and what it hands on."""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from typing import Any

from chatcluster_client import Item, LiveClient, Positions, RestClient
from chatcluster_client.model import ReceiptUpdate
from chatcluster_client.order import RowOrder
from chatcluster_client.sender import IN_FLIGHT_SPARE
from tests.support.scripted import CHAT, ME, WAIT_SECONDS, message, row, scripted


async def taken(live: LiveClient, count: int) -> list[int]:
    seqs: list[int] = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for item in live.items():
            if isinstance(item, Item):
                seqs.append(item.seq)
            if len(seqs) == count:
                break
    return seqs


async def test_a_sync_that_stopped_is_asked_on_from_where_it_came_to() -> None:
    async with scripted() as (script, live):
        assert (await script.hear("sync"))["chats"] == {}
        await script.say(message(1), message(2), {"type": "synced", "chats": [], "more": True})
        assert (await script.hear("sync"))["chats"] == {str(CHAT): 2}
        await script.say(message(3), {"type": "synced", "chats": [{"chat_id": CHAT, "last_seq": 3}], "more": False})
        assert await taken(live, 3) == [1, 2, 3]
        assert script.asked == []


async def test_a_sync_that_brings_nothing_new_is_finished_by_rest() -> None:
    async with scripted() as (script, live):
        script.history = {CHAT: [row(1), row(2)]}
        await script.hear("sync")
        await script.say({"type": "synced", "chats": [], "more": True})
        await script.hear("sync")
        await script.say({"type": "synced", "chats": [], "more": True})
        assert await taken(live, 2) == [1, 2]
        assert script.asked == ["/api/chats", f"/api/chats/{CHAT}/messages"]


async def test_a_sync_that_was_refused_for_now_is_asked_again() -> None:
    async with scripted() as (script, live):
        await script.hear("sync")
        await script.say({"type": "error", "code": "unavailable", "detail": "", "retry_after_seconds": 1})
        await script.hear("sync")
        await script.say(message(1), {"type": "synced", "chats": [{"chat_id": CHAT, "last_seq": 1}], "more": False})
        assert await taken(live, 1) == [1]


async def test_rows_behind_a_hole_come_though_the_chat_is_refused_by_now() -> None:
    async with scripted() as (script, live):
        script.history = {CHAT: HTTPStatus.FORBIDDEN}
        await script.say(message(5), message(4))
        assert await taken(live, 2) == [4, 5]
        await script.say(message(6))
        assert await taken(live, 1) == [6]


async def test_a_row_that_came_while_a_hole_was_filled_is_not_stuck() -> None:
    async with scripted() as (script, live):
        script.history = {CHAT: [row(2), row(3)]}
        # REST does not list 6 yet, and 5 is nobody's to see.
        await script.say(message(3), message(6))
        assert await taken(live, 3) == [2, 3, 6]


async def test_a_frame_of_an_unknown_type_or_none_ends_nothing() -> None:
    async with scripted() as (script, live):
        await script.say({"type": "hologram"}, {"untyped": 1}, message(1))
        assert await taken(live, 1) == [1]
        assert live.closes == []


async def test_marks_of_a_lost_connection_are_said_again_at_their_highest_until_a_receipt_shows_them() -> None:
    async with scripted() as (script, live):
        await script.hear("sync")
        script.away = True
        await script.hang_up()
        async with asyncio.timeout(WAIT_SECONDS):
            while live.connected.is_set():
                await asyncio.sleep(0.01)
        for seq in (4, 9, 6):
            await live.mark(CHAT, delivered_seq=seq)
        await live.mark(CHAT, read_seq=5)
        script.away = False
        assert await script.hear("delivered") == {"type": "delivered", "chat_id": CHAT, "seq": 9}
        assert await script.hear("read") == {"type": "read", "chat_id": CHAT, "seq": 5}
        for delivered_seq in (8, 9):
            receipt = ReceiptUpdate(CHAT, ME, delivered_seq, 5)
            await script.say({"type": "receipt", "chat_id": CHAT, "user_id": ME, **_marks(receipt)})
        async with asyncio.timeout(WAIT_SECONDS):
            async for item in live.items():
                if item == receipt:
                    break
        await script.hang_up()
        await live.mark(CHAT + 1, read_seq=1)
        assert (await script.hear("read"))["chat_id"] == CHAT + 1


def _marks(receipt: ReceiptUpdate) -> dict[str, int]:
    return {"delivered_seq": receipt.delivered_seq, "read_seq": receipt.read_seq}


async def test_a_send_is_repeated_with_the_chats_id_once_another_ack_told_it() -> None:
    async with scripted() as (script, live), asyncio.TaskGroup() as sends:
        first = sends.create_task(live.send("first", to="ben"))
        second = sends.create_task(live.send("second", to="ben"))
        third = sends.create_task(live.send("third", to="eva"))
        ids = {}
        for _ in range(3):
            frame = await script.hear("send")
            assert "chat_id" not in frame
            ids[frame["text"]] = frame["id"]
        await script.say(_ack(ids["first"], 1))
        await first
        await script.hang_up()
        again = {frame["text"]: frame for frame in [await script.hear("send"), await script.hear("send")]}
        assert {key: again["second"].get(key) for key in ("id", "chat_id", "to")} == {
            "id": ids["second"],
            "chat_id": CHAT,
            "to": None,
        }
        assert (again["third"].get("chat_id"), again["third"].get("to")) == (None, "eva")
        await script.say(_ack(ids["second"], 2), _ack(ids["third"], 1, chat_id=CHAT + 1))
        assert ((await second).seq, (await third).seq) == (2, 1)


async def test_a_send_is_repeated_with_the_chats_id_once_its_own_row_told_it() -> None:
    async with scripted() as (script, live), asyncio.TaskGroup() as sends:
        sends.create_task(live.send("once", to="ben", client_id=(client_id := str(uuid.uuid4()))))
        await script.hear("send")
        await script.say(message(1, from_id=ME, client_id=client_id))
        assert await taken(live, 1) == [1]
        await script.hang_up()
        again = await script.hear("send")
        assert (again["id"], again.get("chat_id"), again.get("to")) == (client_id, CHAT, None)
        await script.say(_ack(client_id, 1) | {"duplicate": True})


def _ack(frame_id: str, seq: int, *, chat_id: int = CHAT) -> dict[str, Any]:
    return {"type": "ack", "id": frame_id, "message_id": seq, "chat_id": chat_id, "seq": seq, "created_at": "x"}


def test_rows_are_handed_on_once_ascending_and_whole() -> None:
    order = RowOrder()
    items = {seq: Item(CHAT, seq, "message", own=False, row={}) for seq in range(1, 9)}
    got = [item.seq for seq in (1, 3, 2, 2, 5) for item in order.take(items[seq])]
    assert got == [1, 2, 3]
    assert order.is_waiting(CHAT)
    assert [item.seq for item in order.fill(CHAT, [items[3], items[4]])] == [4, 5]
    assert not order.is_waiting(CHAT)
    assert order.take(items[8]) == []
    assert [item.seq for item in order.fill(CHAT, [items[7]])] == [7, 8]
    assert order.have == {CHAT: 8}


class EmptyHistory(RestClient):
    """Answers that there is nothing yet, and lets rows come to the client while it does."""

    def __init__(self) -> None:
        super().__init__("http://localhost")
        self.meanwhile: list[Item] = []
        self.live = LiveClient(self)

    async def history_page(self, *_: Any, **__: Any) -> tuple[list[dict[str, Any]], bool]:
        for item in self.meanwhile:
            self.live._take(item)
        return [], False


async def test_a_row_that_is_newer_than_rests_answer_does_not_skip_the_one_before_it() -> None:
    """The sender's ack for seq 2 can come before the other's message 1, and both after REST has looked."""
    rest = EmptyHistory()
    first, second = (Item(CHAT, seq, "message", own=seq == 2, row={}) for seq in (1, 2))
    rest.meanwhile = [second]
    assert await rest.live._healer.fill_some(CHAT), "row 1 is still to come"
    rest.live._take(first)
    handed_on = [rest.live._items.get_nowait() for _ in range(rest.live._items.qsize())]
    assert handed_on == [first, second]
    await rest.live.close()
    await rest.close()


async def test_no_more_sends_are_under_way_than_the_server_takes_and_they_keep_their_order() -> None:
    async with scripted(limits={"max_in_flight": IN_FLIGHT_SPARE + 3}) as (script, live):
        sends = [asyncio.create_task(live.send(str(number), chat_id=CHAT)) for number in range(20)]
        first = [await script.hear("send") for _ in range(3)]
        # A connection that breaks brings the same again, and no others before them.
        await script.hang_up()
        again = [await script.hear("send") for _ in range(3)]
        assert [frame["id"] for frame in again] == [frame["id"] for frame in first]
        heard = again
        for seq in range(1, 21):
            await script.say(_ack(heard[seq - 1]["id"], seq))
            if len(heard) < 20:
                heard.append(await script.hear("send"))
        assert [frame["text"] for frame in heard] == [str(number) for number in range(20)]
        assert [ack.seq for ack in await asyncio.gather(*sends)] == list(range(1, 21))


async def test_a_send_that_nobody_waits_for_holds_no_place() -> None:
    async with scripted(limits={"max_in_flight": 1}) as (script, live):
        given_up = asyncio.create_task(live.send("given up", chat_id=CHAT))
        await script.hear("send")
        given_up.cancel()
        next_one = asyncio.create_task(live.send("next", chat_id=CHAT))
        frame = await script.hear("send")
        assert frame["text"] == "next"
        await script.say(_ack(frame["id"], 1))
        assert (await next_one).seq == 1


async def test_a_client_goes_on_behind_what_was_handled_before_its_program_ended() -> None:
    handled = Positions({CHAT: 2})
    async with scripted(positions=Positions.from_json(handled.to_json())) as (script, live):
        assert (await script.hear("sync"))["chats"] == {str(CHAT): 2}
        await script.say(message(2), message(3), message(1, chat_id=CHAT + 1))
        async with asyncio.timeout(WAIT_SECONDS):
            async for item in live.items():
                assert isinstance(item, Item)
                live.positions.take(item)
                if item.chat_id != CHAT:
                    break
        assert Positions.from_json(live.positions.to_json()) == Positions({CHAT: 3, CHAT + 1: 1}, epoch="first")


async def test_a_client_that_was_not_told_whose_it_is_knows_its_own_rows() -> None:
    async with scripted(user_id=0) as (script, live):
        await script.say(message(1, from_id=ME), message(2))
        items = live.items()
        own = [await asyncio.wait_for(anext(items), WAIT_SECONDS) for _ in range(2)]
        assert [item.own for item in own if isinstance(item, Item)] == [True, False]
