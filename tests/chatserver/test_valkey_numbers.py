"""Numbers of messages show what was lost."""

import pytest

from chatserver.fanout.valkey.numbers import Numbers


@pytest.mark.parametrize(
    ("received", "complete"),
    [
        ([7, 8, 9], [True, True, True]),
        ([7, 8, 10, 11], [True, True, False, True]),
        ([7, 1, 2], [True, False, True]),
        ([7, 7], [True, False]),
    ],
)
def test_a_number_that_is_not_the_next_one_shows_a_loss(received: list[int], complete: list[bool]) -> None:
    numbers = Numbers()
    assert [numbers.follows(number) for number in received] == complete


def test_a_new_subscription_begins_with_any_number() -> None:
    numbers = Numbers()
    assert numbers.follows(5)
    numbers.restart()
    assert numbers.follows(1)
