"""Publication of hints: in the commit when idle, together under load, again after a failure, and never forgotten."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import ServiceUnavailable
from chatserver.hints import HINT_ITEMS, Hint
from chatserver.model import SeqRange
from chatserver.storage import publishing
from chatserver.storage.outages import Contended, StatementFailed, error_of
from chatserver.storage.publishing import HintPublisher

if TYPE_CHECKING:
    from collections.abc import Sequence


class Gate:
    """A bus that takes hints when the test says so."""

    def __init__(self) -> None:
        self.sent: list[list[Hint]] = []
        self.trying = asyncio.Event()
        self._answers: asyncio.Queue[Exception | None] = asyncio.Queue()

    def answer(self, *answers: Exception | None) -> None:
        for each in answers:
            self._answers.put_nowait(each)

    async def publish(self, hints: Sequence[Hint]) -> None:
        self.trying.set()
        error = await self._answers.get()
        if error is not None:
            raise error
        self.sent.append(list(hints))


def rows(chat_id: int, seq: int) -> Hint:
    return Hint("server", ranges=(SeqRange(chat_id, seq, seq),))


def store(publisher: HintPublisher, hint: Hint) -> int | None:
    """Commit a transaction with a hint; returns the number of its slot, or None: it notified."""
    with publisher.leaving(1) as leaving:
        leaving.hint = hint
    return leaving.slot and leaving.slot.number


async def until_published(publisher: HintPublisher) -> None:
    async with asyncio.timeout(10):
        while publisher.unpublished_since() is not None:
            await asyncio.sleep(0)


async def test_hints_that_come_while_one_is_published_go_together_as_one() -> None:
    gate = Gate()
    publisher = HintPublisher("server", gate.publish)
    assert publisher.unpublished_since() is None
    store(publisher, rows(1, 1))
    await gate.trying.wait()
    for seq in (2, 3, 4):
        store(publisher, rows(1, seq))
    publisher.say(Hint("server", typing=((1, 7),)))
    since = publisher.unpublished_since()
    assert since is not None
    gate.answer(None, None)
    await until_published(publisher)
    assert gate.sent == [[rows(1, 1)], [Hint("server", ranges=(SeqRange(1, 2, 4),), typing=((1, 7),))]]
    await publisher.close()


async def test_a_slot_is_free_when_its_hint_is_published_and_not_before() -> None:
    gate = Gate()
    publisher = HintPublisher("server", gate.publish)
    first = store(publisher, rows(1, 1))
    await gate.trying.wait()
    assert publisher.slots.take().number != first
    gate.answer(None)
    await until_published(publisher)
    assert publisher.slots.take().number == first
    await publisher.close()


@pytest.mark.parametrize("error", [ServiceUnavailable(), RuntimeError(), MemoryError()])
async def test_a_failed_publication_is_repeated_with_what_is_stored_alone(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "RETRY_SECONDS", 0)
    gate = Gate()
    publisher = HintPublisher("server", gate.publish)
    first = store(publisher, rows(1, 1))
    # Whoever types has stopped by the next try.
    publisher.say(Hint("server", typing=((1, 7),)))
    gate.answer(error, error, None)
    await until_published(publisher)
    assert gate.sent == [[rows(1, 1)]]
    assert publisher.slots.take().number == first
    await publisher.close()


async def test_closing_publishes_what_waits_and_leaves_in_its_slot_what_cannot_be_published() -> None:
    gate = Gate()
    publisher = HintPublisher("server", gate.publish)
    store(publisher, rows(1, 1))
    store(publisher, rows(2, 1))
    gate.answer(None)
    await publisher.close()
    assert gate.sent == [[Hint("server", ranges=(SeqRange(1, 1, 1), SeqRange(2, 1, 1)))]]
    left = store(publisher, rows(3, 1))
    gate.answer(ServiceUnavailable())
    await publisher.close()
    assert publisher.unpublished_since() is not None
    assert left not in publisher.slots.take_published()


@pytest.mark.parametrize(
    ("error", "is_known"),
    [
        (ServiceUnavailable(), False),
        (asyncio.CancelledError(), False),
        (RuntimeError(), False),
        (Contended(), True),
        (StatementFailed("23514", None), True),
    ],
)
def test_the_slot_of_an_unknown_outcome_is_not_written_again(error: BaseException, is_known: bool) -> None:  # noqa: FBT001
    publisher = HintPublisher("server", Gate().publish)
    leaving = publisher.begin(is_small=True)
    assert leaving.slot is not None
    number = leaving.slot.number
    publisher.failed(leaving, error)
    assert publisher.wake.is_set() is not is_known
    assert (publisher.slots.take().number == number) is is_known
    assert publisher.slots.take_uncertain() == (set() if is_known else {number})


# --- transactions that notify themselves


async def test_a_transaction_that_is_alone_notifies_and_those_that_follow_it_closely_are_published_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate()
    publisher = HintPublisher("server", gate.publish, by_notify=True)
    monkeypatch.setattr(publishing, "COLLECT_SECONDS", 0)
    assert [store(publisher, rows(1, seq)) for seq in (1, 2)] == [None, None]
    assert publisher.unpublished_since() is None
    monkeypatch.setattr(publishing, "COLLECT_SECONDS", 3600)
    assert store(publisher, rows(1, 2)) is None
    assert store(publisher, rows(1, 3)) is not None
    assert store(publisher, rows(1, 4)) is not None
    gate.answer(None)
    await publisher.close()
    assert gate.sent == [[Hint("server", ranges=(SeqRange(1, 3, 4),))]]


async def test_a_transaction_beside_one_that_notifies_or_a_publication_takes_a_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "COLLECT_SECONDS", 0)
    gate = Gate()
    publisher = HintPublisher("server", gate.publish, by_notify=True)
    with publisher.leaving(1) as first:
        assert first.slot is None
        assert store(publisher, rows(1, 2)) is not None
    await gate.trying.wait()
    assert store(publisher, rows(1, 3)) is not None
    gate.answer(None, None)
    await until_published(publisher)
    await asyncio.sleep(0)
    assert store(publisher, rows(1, 4)) is None
    await publisher.close()


def test_a_transaction_that_leaves_nothing_delays_no_other_one() -> None:
    publisher = HintPublisher("server", Gate().publish, by_notify=True)
    for _ in range(2):
        with publisher.leaving(1) as leaving:
            assert leaving.slot is None


def test_a_hint_that_may_not_fit_into_a_notification_goes_into_a_slot() -> None:
    publisher = HintPublisher("server", Gate().publish, by_notify=True)
    assert publisher.begin(is_small=False).slot is not None
    with publisher.leaving(HINT_ITEMS + 1) as leaving:
        assert leaving.slot is not None
    with publisher.leaving(HINT_ITEMS) as leaving:
        assert leaving.slot is None


def test_no_transaction_notifies_where_another_bus_publishes() -> None:
    publisher = HintPublisher("server", Gate().publish, by_notify=True)
    publisher.publish_by(Gate().publish)
    assert publisher.begin(is_small=True).slot is not None


async def test_after_a_notifying_transaction_failed_none_notifies_until_a_publication_succeeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "COLLECT_SECONDS", 0)
    monkeypatch.setattr(publishing, "RETRY_SECONDS", 0)
    gate = Gate()
    publisher = HintPublisher("server", gate.publish, by_notify=True)
    # PostgreSQL's queue of notifications is full.
    with pytest.raises(Contended), publisher.leaving(1):
        raise error_of("54000", None)
    assert not publisher.wake.is_set()
    assert store(publisher, rows(1, 1)) is not None
    gate.answer(error_of("54000", None), None)
    await until_published(publisher)
    await asyncio.sleep(0)
    assert store(publisher, rows(1, 2)) is None
    await publisher.close()
