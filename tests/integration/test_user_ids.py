"""Ids of users: in the order of sign-ups, never twice, and not to be found by counting."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.support.people import sign_in

if TYPE_CHECKING:
    from tests.support.people import Server

pytestmark = pytest.mark.integration

JAVASCRIPT_MOST = 2**53 - 1


async def test_ids_rise_with_sign_ups_and_fit_into_javascript(server: Server) -> None:
    ids = [(await sign_in(server.database)).user.user_id for _ in range(4)]
    assert ids == sorted(ids)
    assert 2**40 < ids[0] < ids[-1] <= JAVASCRIPT_MOST


async def test_users_who_are_made_at_the_same_moment_have_different_ids(server: Server) -> None:
    # More than the 4,096 of one millisecond, and faster than anybody signs up.
    await server.fill(
        "INSERT INTO users (phone_number) SELECT '+1666' || lpad(n::text, 7, '0') FROM generate_series(1, 20000) AS n"
    )
    (row,) = await server.database.fetch("SELECT count(*), count(DISTINCT user_id % 4096) FROM users")
    assert row[0] == 20_000
    assert row[1] > 1000


async def test_the_neighbours_of_an_id_are_nobody(server: Server) -> None:
    ids = [(await sign_in(server.database)).user.user_id for _ in range(8)]
    near = [near for user_id in ids for near in range(user_id - 200, user_id + 200) if near not in ids]
    found = await server.database.fetch("SELECT user_id FROM users WHERE user_id = ANY ($1::bigint[])", near)
    assert not found
    # What two successive sign-ups tell of the low bits does not tell the third's.
    low = [user_id % 4096 for user_id in ids]
    assert len({after - before for before, after in itertools.pairwise(low)}) > 2
