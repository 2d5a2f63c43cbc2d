"""The hub: bounded outboxes, and each chat ascending on each connection whatever happens."""

import asyncio
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.fanout.connection import ClientConnection, PushedRow
from chatserver.fanout.hub import LINGER_SECONDS, Hub
from chatserver.fanout.outbox import Outbox
from chatserver.protocol import CLOSE_PACE, CLOSE_REPLACED, CLOSE_UNAUTHENTICATED

CHAT = 10


def connection(user_id: int, device_id: int = 0, outbox: Outbox | None = None) -> ClientConnection:
    device_id = device_id or user_id
    return ClientConnection(f"c{device_id}", user_id, device_id, Outbox() if outbox is None else outbox)


def row(seq: int, users: Iterable[int] = (1, 2), *, from_id: int = 9, client_id: str = "x") -> PushedRow:
    return PushedRow(CHAT, seq, from_id, client_id, json.dumps(seq).encode(), tuple(users))


def push(hub: Hub, last_seq: int, users: Iterable[int] = (1, 2)) -> None:
    """Push like the deliverer: all rows after what is needed."""
    after = hub.following.needed_after(CHAT)
    if after is not None and after < last_seq:
        hub.push(CHAT, [row(seq, users) for seq in range(after + 1, last_seq + 1)], last_seq)


def received(who: ClientConnection) -> list[int]:
    seqs: list[int] = []
    while len(who.outbox):
        seqs += [json.loads(frame) for frame in who.outbox.take()]
    return seqs


def test_outbox_beyond_its_frames_is_closed_and_emptied() -> None:
    outbox = Outbox(max_frames=2, max_bytes=100)
    assert outbox.put(b"1")
    assert outbox.put(b"2")
    assert not outbox.put(b"3")
    assert outbox.order is not None
    assert (outbox.order.code, outbox.order.flush) == (CLOSE_PACE, False)
    assert outbox.take() == []
    assert not outbox.put(b"4")


def test_outbox_beyond_its_bytes_is_closed() -> None:
    outbox = Outbox(max_frames=100, max_bytes=10)
    assert outbox.put(b"123456")
    assert not outbox.put(b"12345")
    assert outbox.order is not None


def test_an_ordered_close_comes_after_what_is_queued() -> None:
    outbox = Outbox()
    outbox.put(b"1")
    outbox.close(1012, "bye")
    assert outbox.take() == [b"1"]
    assert outbox.take() == []
    assert outbox.order is not None
    assert outbox.order.code == 1012


async def test_a_producer_that_can_wait_waits_for_room() -> None:
    outbox = Outbox(max_frames=4, max_bytes=1000)
    for _ in range(3):
        outbox.put(b"x")
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.take()
    await asyncio.wait_for(waiting, 5)


def test_a_slow_reader_is_closed_while_others_go_on() -> None:
    hub = Hub()
    slow, quick = connection(1, outbox=Outbox(max_frames=3)), connection(2)
    for who in (slow, quick):
        hub.add(who)
        hub.following.follow(who.user_id, CHAT, 0)
    push(hub, 5)
    assert slow.outbox.order is not None
    assert slow.outbox.order.code == CLOSE_PACE
    assert received(quick) == [1, 2, 3, 4, 5]


def test_rows_that_were_pushed_are_not_pushed_again() -> None:
    hub, who = Hub(), connection(1)
    hub.add(who)
    hub.following.follow(1, CHAT, 3)
    push(hub, 5)
    hub.push(CHAT, [row(4), row(5), row(6)], 6)
    assert received(who) == [4, 5, 6]


def test_a_lost_hint_leaves_no_hole() -> None:
    hub, who = Hub(), connection(1)
    hub.add(who)
    hub.following.follow(1, CHAT, 0)
    push(hub, 1)
    assert hub.following.needed_after(CHAT) == 1
    push(hub, 4)
    assert received(who) == [1, 2, 3, 4]


def test_the_sending_connection_gets_no_row_and_the_senders_other_device_does() -> None:
    hub = Hub()
    phone, laptop = connection(1, 11), connection(1, 12)
    for who in (phone, laptop):
        hub.add(who)
    hub.following.follow(1, CHAT, 0)
    phone.own_ids.add("mine")
    hub.push(CHAT, [row(1, from_id=1, client_id="mine"), row(2)], 2)
    assert received(phone) == [2]
    assert received(laptop) == [1, 2]
    assert phone.own_ids == set()


def test_a_new_member_gets_the_rows_since_joining_in_order() -> None:
    hub, old, new = Hub(), connection(1), connection(2)
    hub.add(old)
    hub.add(new)
    hub.following.follow(1, CHAT, 0)
    push(hub, 6, users=[1])
    hub.join(2, CHAT, 4)
    assert hub.following.needed_after(CHAT) == 4
    push(hub, 7)
    push(hub, 8)
    assert received(old) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert received(new) == [5, 6, 7, 8]


def test_pushes_during_a_sync_wait_for_it() -> None:
    hub, who = Hub(), connection(1)
    hub.add(who)
    hub.following.follow(1, CHAT, 5)
    hub.begin_sync(who)
    push(hub, 7)
    for seq in range(1, 7):
        who.outbox.put(json.dumps(seq).encode())
    hub.end_sync(who, {CHAT: 6})
    push(hub, 8)
    assert received(who) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_sync_ahead_of_the_hints_is_not_repeated() -> None:
    hub, who, other = Hub(), connection(1), connection(2)
    hub.add(who)
    hub.add(other)
    hub.following.follow(1, CHAT, 2)
    hub.following.follow(2, CHAT, 2)
    hub.begin_sync(who)
    for seq in (3, 4):
        who.outbox.put(json.dumps(seq).encode())
    hub.end_sync(who, {CHAT: 4})
    push(hub, 5)
    assert received(who) == [3, 4, 5]
    assert received(other) == [3, 4, 5]


@pytest.mark.parametrize("is_followed_by_another", [False, True])
def test_a_sync_that_was_faster_than_the_news_of_a_chat_is_not_repeated(is_followed_by_another: bool) -> None:  # noqa: FBT001
    hub, who, other = Hub(), connection(1), connection(2)
    hub.add(who)
    if is_followed_by_another:
        hub.add(other)
        hub.following.follow(2, CHAT, 0)
        push(hub, 2, [2])
    hub.begin_sync(who)
    who.outbox.put(b"1")
    who.outbox.put(b"2")
    hub.end_sync(who, {CHAT: 2})
    hub.join(1, CHAT, 0)
    push(hub, 3)
    assert received(who) == [1, 2, 3]


@given(st.lists(st.tuples(st.sampled_from(["commit", "hint", "begin", "end", "late"]), st.integers(1, 3)), max_size=30))
def test_every_interleaving_is_ascending_without_doubles_and_complete(steps: list[tuple[str, int]]) -> None:
    _interleave(steps)


def _interleave(steps: list[tuple[str, int]]) -> None:
    """A chat of two; user 1 syncs while rows are committed and hinted. `late` is a second, late device of user 2."""
    hub, who, other = Hub(), connection(1), connection(2)
    hub.add(who)
    hub.add(other)
    hub.following.follow(1, CHAT, 0)
    hub.following.follow(2, CHAT, 0)
    last = have = 0
    syncing = False
    for step, count in steps:
        if step == "commit":
            last += count
        elif step == "hint":
            push(hub, last)
        elif step == "begin" and not syncing:
            hub.begin_sync(who)
            syncing = True
            have = max([0, *[json.loads(f) for f in who.outbox._frames]])
        elif step == "end" and syncing:
            for seq in range(have + 1, last + 1):
                who.outbox.put(json.dumps(seq).encode())
            hub.end_sync(who, {CHAT: last})
            syncing = False
        elif step == "late":
            hub.add(connection(2, 100 + count))
    if syncing:
        hub.end_sync(who, {CHAT: have})
    push(hub, last)
    assert received(who) == list(range(1, last + 1))
    assert received(other) == list(range(1, last + 1))


def test_the_same_device_again_replaces_the_old_socket() -> None:
    hub, old, new = Hub(), connection(1, 5), connection(1, 5)
    new.conn_id = "newer"
    hub.registry.claim(old)
    hub.registry.claim(new)
    assert _order_code(old) == CLOSE_REPLACED
    hub.add(new)
    hub.add(old)
    assert _order_code(new) is None
    hub.remove(old, now=0)
    assert hub.registry.is_here(1)
    assert _order_code(new) is None
    hub.sign_out([5])
    assert _order_code(new) == CLOSE_UNAUTHENTICATED


def test_a_claim_heard_from_elsewhere_replaces_only_an_older_connection() -> None:
    hub, here = Hub(), connection(1, 5)
    hub.registry.claim(here)
    hub.add(here)
    hub.registry.receive_claim(5, "elsewhere")
    hub.registry.receive_claim(6, "another device")
    # Its own claim is still under way and so the newer one: the other server will hear it.
    assert _order_code(here) is None
    hub.registry.receive_claim(5, here.conn_id)
    assert _order_code(here) is None
    hub.registry.receive_claim(5, "elsewhere")
    assert _order_code(here) == CLOSE_REPLACED


@given(st.permutations(["one", "two", "three"]), st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_of_a_devices_connections_the_last_claimed_alone_stays(order: list[str], places: list[int]) -> None:
    """Three servers hear the same claims in the same order, whichever server each connection is on."""
    hubs = [Hub(), Hub(), Hub()]
    made = {}
    for name, place in zip(order, places, strict=True):
        made[name] = connection(1, 5)
        made[name].conn_id = name
        hubs[place].registry.claim(made[name])
    for name in order:
        for hub in hubs:
            hub.registry.receive_claim(5, name)
    assert [name for name, one in made.items() if _order_code(one) is None] == order[-1:]


def test_a_claim_sent_while_the_bus_was_lost_counts_as_heard() -> None:
    hub, here = Hub(), connection(1, 5)
    hub.registry.claim(here)
    hub.add(here)
    hub.registry.claims_were_missed()
    hub.registry.receive_claim(5, "elsewhere")
    assert _order_code(here) is None
    here.published = True
    hub.registry.claims_were_missed()
    hub.registry.receive_claim(5, "elsewhere")
    assert _order_code(here) == CLOSE_REPLACED


def _order_code(connection: ClientConnection) -> int | None:
    order = connection.outbox.order
    return order.code if order else None


def test_a_poll_is_woken_by_a_row_it_may_see_and_by_a_drain() -> None:
    hub = Hub()
    woken, other = hub.add_poll(1, 11).woken, hub.add_poll(2, 12).woken
    hub.following.follow(1, CHAT, 0)
    hub.push(CHAT, [row(1, users=[1])], 1)
    assert woken.is_set()
    assert not other.is_set()
    hub.polls.wake_all()
    assert other.is_set()


def test_a_sign_out_wakes_the_polls_of_its_device_alone() -> None:
    hub = Hub()
    polls = [hub.add_poll(1, device_id) for device_id in (11, 11, 12)]
    assert hub.devices() == {11, 12}
    hub.sign_out([11, 99])
    assert [poll.woken.is_set() for poll in polls] == [True, True, False]
    for poll in polls:
        hub.remove_poll(poll, 0.0)
    assert (hub.devices(), hub.polls.count(1)) == (set(), 0)


def test_receipts_reach_current_members_only_and_a_former_ones_only_their_own_devices() -> None:
    hub, member, former = Hub(), connection(1), connection(2)
    for who in (member, former):
        hub.add(who)
        hub.following.follow(who.user_id, CHAT, 0)
    assert hub.unknown_members([CHAT, 99]) == [CHAT]
    hub.members.learn(CHAT, [1, 3])
    hub.send_to_members(CHAT, b"7", from_id=3)
    hub.send_to_members(CHAT, b"8", from_id=2)
    assert received(member) == [7]
    assert received(former) == [8]


@pytest.mark.parametrize(("seconds", "known"), [(LINGER_SECONDS - 1, True), (LINGER_SECONDS + 1, False)])
def test_users_who_left_are_forgotten_after_a_while(seconds: float, known: bool) -> None:  # noqa: FBT001
    hub, who = Hub(), connection(1)
    hub.expect(1, now=100)
    hub.add(who)
    hub.following.follow(1, CHAT, 0)
    hub.following.set_loaded(1)
    hub.remove(who, now=100)
    hub.forget_idle(100 + seconds)
    assert hub.following.is_loaded(1) is known
    assert (hub.following.needed_after(CHAT) is not None) is known


def test_no_signal_goes_between_members_who_are_barred_from_each_other() -> None:
    hub, ana, ben, eve = Hub(), connection(1), connection(2), connection(3)
    for who in (ana, ben, eve):
        hub.add(who)
        hub.following.follow(who.user_id, CHAT, 0)
    hub.members.learn(CHAT, [1, 2, 3], [(1, 2)])
    for user_id in (1, 2, 3):
        hub.send_to_members(CHAT, str(user_id).encode(), from_id=user_id)
    assert (received(ana), received(ben), received(eve)) == ([1, 3], [2, 3], [1, 2, 3])
    hub.forget_members_between(1, 3)
    assert hub.unknown_members([CHAT]) == [CHAT]


def test_presence_is_told_to_those_who_watch_and_may_see() -> None:
    hub, who = Hub(), connection(1)
    hub.add(who)
    hub.watching.watch(who, frozenset({2, 3, 4}))
    assert not hub.watching.show(who, 3, visible=True)
    assert not hub.watching.show(who, 2, visible=True)
    hub.watching.watch(who, frozenset({3, 4}))
    for user_id in (2, 3, 4):
        hub.watching.send(user_id, str(user_id).encode())
    assert received(who) == [3]
    assert hub.watching.show(who, 3, visible=False)
    hub.watching.send(3, b"3")
    assert received(who) == []
