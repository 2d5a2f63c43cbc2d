"""Why a WebSocket ended, for metrics and logs: one reason for each end, from what both sides did."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

from chatserver.protocol import CLOSE_PACE, CLOSE_REPLACED, CLOSE_RESTART, CLOSE_UNAUTHENTICATED

CLOSE_INTERNAL_ERROR: Final = 1011
"""Of RFC 6455: a defect of this server."""

TOO_SLOW: Final = "too slow"
"""Text of a close with 4008 of a client that does not read; all other closes with it are for what a client sends."""


class Reason(StrEnum):
    """Why a connection ended."""

    CLIENT = "client"
    NETWORK = "network"
    PING_TIMEOUT = "ping_timeout"
    SLOW_READER = "slow_reader"
    RESTART = "restart"
    MOVED = "moved"
    REPLACED = "replaced"
    SIGNED_OUT = "signed_out"
    PROTOCOL = "protocol"
    DEFECT = "defect"


class End(Enum):
    """How a connection ended, as its socket saw it."""

    CLOSED_HERE = "this server sent the first close frame"
    GOODBYE = "the peer sent the first close frame"
    LOST = "it ended without a close frame"
    SILENT = "the peer answered no ping"
    CUT = "this server gave it up after a defect"


_BY_CODE: Final = {
    CLOSE_INTERNAL_ERROR: Reason.DEFECT,
    CLOSE_RESTART: Reason.RESTART,
    CLOSE_UNAUTHENTICATED: Reason.SIGNED_OUT,
    CLOSE_REPLACED: Reason.REPLACED,
}

_BY_END: Final = {
    End.GOODBYE: Reason.CLIENT,
    End.LOST: Reason.NETWORK,
    End.SILENT: Reason.PING_TIMEOUT,
    End.CUT: Reason.DEFECT,
}


def reason_of(end: End, code: int, *, too_slow: bool, moving: bool) -> Reason:
    """Return why a connection ended.

    Args:
        end: as its socket saw it.
        code: with which this server closed it; 0 if it did not.
        too_slow: this server closed it because its client did not read.
        moving: this server had sent its client a request to reconnect elsewhere.

    Example:
        >>> reason_of(End.GOODBYE, 0, too_slow=False, moving=True).value
        'moved'
        >>> reason_of(End.CLOSED_HERE, CLOSE_PACE, too_slow=False, moving=True).value
        'protocol'
    """
    if end is End.CLOSED_HERE:
        if code == CLOSE_PACE and too_slow:
            return Reason.SLOW_READER
        return _BY_CODE.get(code, Reason.PROTOCOL)
    if moving and end in {End.GOODBYE, End.LOST}:
        return Reason.MOVED
    return _BY_END[end]
