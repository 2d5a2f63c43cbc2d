"""Groups that are asked for again under one client_id."""

from __future__ import annotations

import uuid

import pytest

from chatserver.errors import IdempotencyConflict, UserNotFound
from chatserver.messaging import groups
from chatserver.messaging.group_edits import GroupChange, change_group
from tests.support.people import Server, people

pytestmark = pytest.mark.integration


async def test_a_group_is_made_once_under_a_client_id_and_told_as_it_is_now(server: Server) -> None:
    ada, bob, _cleo = await people(server, "Ada", "Bob", "Cleo")
    database, client_id = server.database, str(uuid.uuid4())
    made = await groups.create_group(database, ada, "team", ["Bob", "Cleo"], client_id=client_id)
    await change_group(database, ada, made.group_id, GroupChange(group_name="better team"))
    # Who is in it is the same, whatever order and spelling.
    for members in (["Cleo", "Bob"], ["bob", "cleo", "BOB"]):
        again = await groups.create_group(database, ada, "team", members, client_id=client_id.upper())
        assert (again.group_id, again.seq, again.fields.group_name) == (made.group_id, None, "better team")
    for name, members in (("other", ["Bob", "Cleo"]), ("team", ["Bob"])):
        with pytest.raises(IdempotencyConflict):
            await groups.create_group(database, ada, name, members, client_id=client_id)
    # Another user's UUIDs are their own.
    theirs = await groups.create_group(database, bob, "team", ["Ada"], client_id=client_id)
    assert theirs.group_id != made.group_id


async def test_a_retry_by_who_has_left_tells_no_more_than_they_knew(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database, client_id = server.database, str(uuid.uuid4())
    made = await groups.create_group(database, ada, "team", ["Bob"], client_id=client_id)
    left = await groups.remove_member(database, ada, made.group_id, ada)
    await change_group(database, bob, made.group_id, GroupChange(group_name="without Ada"))
    again = await groups.create_group(database, ada, "team", ["Bob"], client_id=client_id)
    once_more = await groups.remove_member(database, ada, made.group_id, ada)
    assert left.seq is not None
    for told in (again, once_more):
        assert (told.group_id, told.fields.group_name, told.members, told.seq) == (made.group_id, "team", (), None)


async def test_a_group_that_could_not_be_made_leaves_its_client_id_free(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    client_id = str(uuid.uuid4())
    with pytest.raises(UserNotFound):
        await groups.create_group(server.database, ada, "team", ["Dan"], client_id=client_id)
    await people(server, "Dan")
    assert (await groups.create_group(server.database, ada, "team", ["Dan"], client_id=client_id)).seq is not None
