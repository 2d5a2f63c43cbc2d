"""Signed-in devices, and tickets for their WebSockets: ``/api/devices``, ``/api/ws-ticket``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from chatserver.errors import DeviceNotFound
from chatserver.http.browser_sessions import signed_out
from chatserver.http.call import Calls
from chatserver.http.context import Request, authenticate
from chatserver.http.parsing import answer, no_content, path_id
from chatserver.http.room import check_room
from chatserver.messaging.rendering import DeviceView, view_device

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

CALLS = Calls()

TICKET_SECONDS = 30


class TicketAnswer(TypedDict):
    """A secret that opens one WebSocket within `expires_in` seconds."""

    ticket: str
    expires_in: int


@CALLS.add("GET /api/devices", answer=list[DeviceView])
async def list_devices(request: Request) -> HTTPResponse:
    """List the caller's signed-in devices."""
    caller = await authenticate(request)
    devices = await request.app.ctx.devices.list_devices(caller.user_id)
    return answer([view_device(device, current_device_id=caller.device_id) for device in devices])


@CALLS.add("DELETE /api/devices/{device_id}", status=204, errors=(DeviceNotFound,))
async def revoke_device(request: Request, device_id: str) -> HTTPResponse:
    """Sign out a device of the caller, on every server."""
    caller = await authenticate(request)
    number = path_id(device_id, "device_id")
    await request.app.ctx.devices.revoke(caller.user_id, number, by_device_id=caller.device_id)
    return signed_out(request) if number == caller.device_id else no_content()


@CALLS.add("POST /api/ws-ticket", status=201, answer=TicketAnswer)
async def issue_ticket(request: Request) -> HTTPResponse:
    """Create a ticket for one WebSocket, for web pages, which cannot set its headers."""
    caller = await authenticate(request)
    # A page learns of a refused WebSocket nothing but that there is none; here it reads when to come back.
    check_room(request.app.ctx)
    ticket = await request.app.ctx.devices.issue_ticket(caller)
    return answer(TicketAnswer(ticket=ticket, expires_in=TICKET_SECONDS), 201)
