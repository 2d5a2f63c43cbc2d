"""Signed-in devices, and tickets for their WebSockets: ``/api/devices``, ``/api/ws-ticket``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from chatserver.http.context import App, Request, authenticate
from chatserver.http.parsing import answer, no_content, path_id
from chatserver.messaging.rendering import view_device

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

TICKET_SECONDS = 30


class TicketAnswer(TypedDict):
    """A secret that opens one WebSocket within `expires_in` seconds."""

    ticket: str
    expires_in: int


async def list_devices(request: Request) -> HTTPResponse:
    """List the caller's devices."""
    caller = await authenticate(request)
    devices = await request.app.ctx.devices.list_devices(caller.user_id)
    return answer([view_device(device, current_device_id=caller.device_id) for device in devices])


async def revoke_device(request: Request, device_id: str) -> HTTPResponse:
    """Sign a device out; its sockets close on every server."""
    caller = await authenticate(request)
    number = path_id(device_id, "device_id")
    await request.app.ctx.devices.revoke(caller.user_id, number, by_device_id=caller.device_id)
    return no_content()


async def issue_ticket(request: Request) -> HTTPResponse:
    """Make a ticket for one WebSocket."""
    caller = await authenticate(request)
    ticket = await request.app.ctx.devices.issue_ticket(caller)
    return answer(TicketAnswer(ticket=ticket, expires_in=TICKET_SECONDS), 201)


def add_routes(app: App) -> None:
    """Route this file's calls."""
    app.add_route(list_devices, "/api/devices", {"GET"}, name="devices")
    app.add_route(revoke_device, "/api/devices/<device_id:str>", {"DELETE"}, name="device")
    app.add_route(issue_ticket, "/api/ws-ticket", {"POST"}, name="ws_ticket")
