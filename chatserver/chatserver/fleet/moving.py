"""Moves clients to other servers, each once and at its own moment; the only sender of ``reconnect`` frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.protocol import Reconnect, encode_frame

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from chatserver.fanout.connection import ClientConnection
    from chatserver.fanout.hub import Hub


def reconnect_delays_ms(count: int, window_seconds: float, random_values: Sequence[float]) -> list[int]:
    """Return when each of ``count`` clients shall reconnect: uniform over the window.

    Each client gets a slice of its own, so that a few of them spread too, and a random moment within it.

    Args:
        count: clients.
        window_seconds: time in which all of them reconnect.
        random_values: ``count`` numbers from 0 to 1.

    Example:
        >>> reconnect_delays_ms(4, 20, [0, 0.5, 0, 0.5])
        [0, 7500, 10000, 17500]
    """
    slice_ms = window_seconds * 1000 / max(1, count)
    return [int((place + value) * slice_ms) for place, value in enumerate(random_values[:count])]


class Mover:
    """Sends ``reconnect`` to clients of this server, and remembers to which.

    Drain, shedding and the watch over proxies share one, so that no two of them move the same client.

    Args:
        hub: has the connections of this server.
        chance: chooses the moment of each client.
    """

    def __init__(self, hub: Hub, chance: random.Random) -> None:
        self._hub = hub
        self._chance = chance
        # Of each connection that got the frame: until when, by time.monotonic, it gets no other.
        self._moving_until: dict[str, float] = {}

    def move(
        self, connections: Iterable[ClientConnection], within_seconds: float, *, now: float, again_after_seconds: float
    ) -> int:
        """Send ``reconnect`` to clients that have not got it yet; return to how many.

        Args:
            connections: of the clients.
            within_seconds: time in which they reconnect.
            now: of ``time.monotonic``.
            again_after_seconds: a client that is still here so long after its moment may get it again.
        """
        leaving = self.leaving(now)
        moved = [connection for connection in connections if connection.conn_id not in leaving]
        # Neighbours in the list came at the same time, mostly from the same place.
        self._chance.shuffle(moved)
        values = [self._chance.random() for _ in moved]
        delays_ms = reconnect_delays_ms(len(moved), max(0.0, within_seconds), values)
        for connection, after_ms in zip(moved, delays_ms, strict=True):
            connection.outbox.put(encode_frame(Reconnect(after_ms)))
            connection.moving = True
            self._moving_until[connection.conn_id] = now + after_ms / 1000 + again_after_seconds
        return len(moved)

    def leaving(self, now: float) -> frozenset[str]:
        """Return the connections of clients that got ``reconnect`` and are still here.

        Args:
            now: of ``time.monotonic``.
        """
        self._moving_until = {
            conn_id: until
            for conn_id, until in self._moving_until.items()
            if until > now and conn_id in self._hub.connections
        }
        return frozenset(self._moving_until)

    def forget(self) -> None:
        """Let every client be moved again: frames that were sent before no longer count."""
        self._moving_until.clear()
