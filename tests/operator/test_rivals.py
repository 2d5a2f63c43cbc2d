"""Two operators of one ChatCluster: one leads, and who is gone is replaced."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from chatoperator.reconcile.rivals import ANSWER_SECONDS, CHALLENGE_SECONDS, GONE_SECONDS, Stand, Standing, stand

SWEEP_SECONDS = 15


@dataclass
class Chat:
    """A ChatCluster's status, and how often it was written."""

    status: dict[str, Any] = field(default_factory=dict)
    now: float = 0.0
    writes: int = 0
    numbers: Any = field(default_factory=itertools.count)

    def merge(self, patch: Any, into: dict[str, Any] | None = None) -> None:
        for name, value in patch.items():
            at = self.status if into is None else into
            if value is None:
                at.pop(name, None)
            elif isinstance(value, dict):
                self.merge(value, at.setdefault(name, {}))
            else:
                at[name] = value


@dataclass
class One:
    """One operator."""

    name: str
    standing: Standing = field(default_factory=Standing)
    last: Stand | None = None

    def look(self, chat: Chat) -> bool:
        self.last = stand(chat.status, self.name, "1", self.standing, chat.now, lambda: f"c{next(chat.numbers)}")
        self.standing = self.last.standing
        chat.writes += bool(self.last.patch)
        chat.merge(self.last.patch)
        return self.last.leads


def sweeps(chat: Chat, *operators: One, seconds: float) -> list[str]:
    """Who has led, in each sweep."""
    led = []
    for _ in range(int(seconds // SWEEP_SECONDS)):
        led += [operator.name for operator in operators if operator.look(chat)]
        chat.now += SWEEP_SECONDS
    return led


def test_the_first_leads_and_writes_its_name_once() -> None:
    chat, first = Chat(), One("a")
    assert set(sweeps(chat, first, seconds=3600)) == {"a"}
    assert chat.writes == 1
    assert first.last is not None
    assert first.last.rival is None


def test_the_second_stands_back_for_as_long_as_the_first_answers_and_both_know_of_it() -> None:
    chat, first, second = Chat(), One("a"), One("b")
    sweeps(chat, first, seconds=60)
    assert set(sweeps(chat, first, second, seconds=3600)) == {"a"}
    assert first.last is not None
    assert second.last is not None
    assert (first.last.rival, second.last.rival) == ("b (release 1)", "a (release 1)")
    assert chat.writes <= 1 + 2 * (3600 / CHALLENGE_SECONDS + 1), "it costs next to nothing"


def test_one_that_is_gone_is_replaced_and_one_that_went_is_no_rival_any_more() -> None:
    chat, first, second = Chat(), One("a"), One("b")
    sweeps(chat, first, second, seconds=600)
    led = sweeps(chat, second, seconds=CHALLENGE_SECONDS + ANSWER_SECONDS + 2 * SWEEP_SECONDS)
    assert led[-1] == "b"
    # The first comes back, and is the second now.
    back = One("a")
    assert "a" not in sweeps(chat, second, back, seconds=900)
    sweeps(chat, second, seconds=GONE_SECONDS + SWEEP_SECONDS)
    assert second.last is not None
    assert second.last.rival is None
    assert chat.status == {"operator": {"name": "b", "version": "1", "answered": chat.status["operator"]["answered"]}}


def test_two_that_begin_at_once_end_with_one() -> None:
    chat, first, second = Chat(), One("a"), One("b")
    # Both have read before either has written.
    before = dict(chat.status)
    made = [stand(before, one.name, "1", one.standing, 0, str) for one in (first, second)]
    for decided in made:
        assert decided.leads
        chat.merge(decided.patch)
    assert set(sweeps(chat, first, second, seconds=900)) == {"b"}


def test_a_third_takes_nothing_from_a_leader_that_lives() -> None:
    chat, first, others = Chat(), One("a"), [One("b"), One("c")]
    sweeps(chat, first, seconds=60)
    assert set(sweeps(chat, first, *others, seconds=3600)) == {"a"}


def test_a_restarted_operator_goes_on_as_itself() -> None:
    chat = Chat()
    sweeps(chat, One("a"), seconds=60)
    assert sweeps(chat, One("a"), seconds=15) == ["a"]
