"""Whether this server takes another WebSocket, and when somebody who is refused should come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.errors import ServiceUnavailable

if TYPE_CHECKING:
    from chatserver.http.context import Context

DRAINING_RETRY_SECONDS = 1
"""The proxies know already that this server drains: the next try reaches another one."""

FULL_RETRY_SECONDS = 5
"""Proxies choose the server with the fewest connections: when one is full, so are the others, until one is added."""


class NoRoom(ServiceUnavailable):
    """This server takes no connection; another one may.

    Attributes:
        result: ``full`` or ``draining``, for metrics.
    """

    def __init__(self, result: str, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds)
        self.result = result


def check_room(context: Context) -> None:
    """Refuse a connection above the cap or during a drain.

    Raises:
        NoRoom: try another server, after the time that it names.
    """
    if context.health.refusing:
        raise NoRoom("draining", "The server is draining.", retry_after_seconds=DRAINING_RETRY_SECONDS)
    if len(context.hub.connections) >= context.settings.max_connections:
        detail = "The server has all the connections it can hold."
        raise NoRoom("full", detail, retry_after_seconds=FULL_RETRY_SECONDS)
