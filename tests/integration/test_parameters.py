"""Parameters of the query that a call does not know, for every call of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.routes import CALLS
from tests.support.devices import sign_in

if TYPE_CHECKING:
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration


async def test_no_call_ignores_a_parameter_that_it_does_not_know(process: ServerProcess) -> None:
    ana = await sign_in(process)
    refused = {}
    calls = [call for call in CALLS if call.path.startswith("/api/") and call.route != "GET /api/ws"]
    async with ana.http(process) as http:
        for call in calls:
            path = call.path.format(chat_id=1, seq=1, user_id=1, group_id=1, device_id=1, invite_id=1, emoji="👍")
            answer = await http.request(call.method, path, params={"x": "1"}, json={} if call.body else None)
            refused[call.route] = (answer.status_code, [error["path"] for error in answer.json()["errors"]])
        # Nothing was done for them, and an empty query is none.
        assert (await http.get("/api/users/me?")).status_code == httpx.codes.OK
    assert refused == {call.route: (422, ["x"]) for call in calls}
