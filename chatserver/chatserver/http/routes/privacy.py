"""Who sees the caller's data and may add them to groups: ``/api/users/me/privacy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import asdict

from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate, count_change
from chatserver.http.parsing import Body, answer, read_body
from chatserver.users import privacy
from chatserver.visibility import Audience, Privacy

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()


class PrivacyBody(Body, frozen=True):
    """``PATCH /api/users/me/privacy``; a missing field is kept."""

    last_seen: Audience | msgspec.UnsetType = msgspec.UNSET
    picture: Audience | msgspec.UnsetType = msgspec.UNSET
    about: Audience | msgspec.UnsetType = msgspec.UNSET
    groups: Audience | msgspec.UnsetType = msgspec.UNSET
    read_receipts: bool | msgspec.UnsetType = msgspec.UNSET


@CALLS.add("GET /api/users/me/privacy", answer=Privacy)
async def get_privacy(request: Request) -> HTTPResponse:
    """Return who sees the caller's data and may add them to groups."""
    caller = await authenticate(request)
    return answer(await privacy.get_privacy(request.app.ctx.database, caller.user_id))


@CALLS.add("PATCH /api/users/me/privacy", body=PrivacyBody, answer=Privacy)
async def patch_privacy(request: Request) -> HTTPResponse:
    """Change who sees the caller's data and may add them to groups; a missing field is kept."""
    caller = await authenticate(request)
    body = read_body(request, PrivacyBody)
    count_change(request, caller)
    change = privacy.PrivacyChange(**asdict(body))
    return answer(await privacy.change_privacy(request.app.ctx.database, caller.user_id, change))
