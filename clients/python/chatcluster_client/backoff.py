"""Whether and when a client connects again; pure, with the random draw as an argument."""

MAX_SECONDS = 20.0
"""Full jitter below it: 5,000 clients of a lost server come back at 250 a second at most."""

FIRST_SECONDS = 0.25
"""The first ceiling; it doubles with each failure in a row."""

STEADY_SECONDS = 10.0
"""A connection that was welcomed and lasted this long was good: what ends it is the first failure of a row again. A
welcome alone proves nothing, since what the client sends next may be what the server closes it for."""


class Backoff:
    """Counts the connections in a row that ended soon."""

    def __init__(self) -> None:
        self._soon_ended = 0

    def seconds(self, connected_seconds: float, draw: float, *, named_seconds: float = 0.0) -> float:
        """Return the wait after a connection has ended.

        Args:
            connected_seconds: From its `welcome` to its end; 0 where none came.
            draw: A random number from 0 to 1.
            named_seconds: What the server named when it refused the connection; the wait is no shorter.
        """
        if connected_seconds >= STEADY_SECONDS:
            self._soon_ended = 0
        # The exponent is bounded: after a week without a server it would be no float any more.
        ceiling = min(MAX_SECONDS, FIRST_SECONDS * 2.0 ** min(self._soon_ended, 16))
        self._soon_ended += 1
        return named_seconds + draw * ceiling


class Replacements:
    """Decides whether a client comes back whose connection was replaced by another one of its device.

    The other one may be its own: an attempt that it gave up on, or one of the program's last run, can reach the server
    after the connection that followed. That one is dead, and whoever takes it for another program is gone for nothing.
    """

    def __init__(self) -> None:
        self._came_back = False

    def may_come_back(self, connected_seconds: float) -> bool:
        """Return whether to connect again after a replacement: once, until a connection was steady.

        Of two programs that both do so, the one that connected last stays: the other is replaced twice in a row.

        Args:
            connected_seconds: From the `welcome` of the replaced connection to its end.
        """
        if connected_seconds >= STEADY_SECONDS:
            self._came_back = False
        may, self._came_back = not self._came_back, True
        return may


def around(seconds: float, draw: float) -> float:
    """Return a wait of half to one and a half of what a server named, so that not all clients come back at once.

    Args:
        seconds: What it named.
        draw: A random number from 0 to 1.
    """
    return seconds * (0.5 + draw)
