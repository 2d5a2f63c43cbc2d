"""A group has at most so many members, whichever way they come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatserver.bounds import GROUP_MEMBERS_MAX
from chatserver.errors import ValidationFailed
from chatserver.messaging import groups
from tests.support.people import Server, sign_in

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = pytest.mark.integration

PEOPLE = """
INSERT INTO users (phone_number) SELECT '+1666' || lpad(n::text, 7, '0') FROM generate_series(1, $1::int) AS n
RETURNING user_id
"""


async def assert_full(change: Awaitable[object], path: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await change
    assert [error.path for error in refused.value.errors] == [path]


async def test_a_group_is_full_with_so_many_members_and_no_more(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    user_ids = [record[0] for record in await server.fill(PEOPLE, GROUP_MEMBERS_MAX)]
    numbers = [f"+1666{n:07}" for n in range(1, GROUP_MEMBERS_MAX + 1)]
    # The one who makes it is a member too.
    await assert_full(groups.create_group(server.database, ada, "Too many", numbers), "members")
    full = await groups.create_group(server.database, ada, "Full", numbers[:-1])
    assert len(full.members) == GROUP_MEMBERS_MAX
    await assert_full(groups.add_member(server.database, ada, full.group_id, user_ids[-1]), "user_id")
    await groups.remove_member(server.database, ada, full.group_id, user_ids[0])
    added = await groups.add_member(server.database, ada, full.group_id, user_ids[-1])
    assert len(added.members) == GROUP_MEMBERS_MAX
    await assert_full(groups.add_member(server.database, ada, full.group_id, user_ids[0]), "user_id")
