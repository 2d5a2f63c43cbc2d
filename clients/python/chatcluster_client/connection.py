"""Opens a device's WebSocket, and the close codes it can end with."""

import asyncio
import ssl

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from chatcluster_client.rest import RestClient

PING_SECONDS = 10.0
"""Seconds between pings; a half-open connection is noticed after two of them."""

CLOSE_SECONDS = 1.0
"""Longest wait for the other side in a closing handshake; it may no longer answer."""

MAX_FRAME_BYTES = 1 << 20
"""Far beyond a message: the answer to a sync names up to 1,000 chats and 2,000 members."""

CLOSE_PROTOCOL = 1002
CLOSE_TOO_LARGE = 1009
CLOSE_UNAUTHENTICATED = 4001
CLOSE_FORBIDDEN = 4003
CLOSE_REPLACED = 4009

FINAL_CLOSES = frozenset({CLOSE_UNAUTHENTICATED, CLOSE_FORBIDDEN})
"""Close codes after which a reconnect is useless."""


def open_socket(rest: RestClient) -> connect:
    """Return an async context manager that connects with the device's token, never through a proxy."""
    url = f"ws{rest.base_url.removeprefix('http')}/api/ws"
    tls: ssl.SSLContext | None = None
    if url.startswith("wss"):
        tls = rest.tls if isinstance(rest.tls, ssl.SSLContext) else ssl.create_default_context()
    return connect(
        url,
        ssl=tls,
        additional_headers={"Authorization": f"Bearer {rest.token}"},
        subprotocols=[Subprotocol("chat.v1")],
        ping_interval=PING_SECONDS,
        ping_timeout=PING_SECONDS,
        open_timeout=PING_SECONDS,
        close_timeout=CLOSE_SECONDS,
        max_size=MAX_FRAME_BYTES,
        proxy=None,
    )


async def close_later(socket: ClientConnection, seconds: float) -> None:
    """Close a connection because its server moves the client."""
    await asyncio.sleep(seconds)
    await socket.close()
