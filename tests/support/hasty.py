"""A chatserver with little patience for WebSockets: `python -m tests.support.hasty python -m chatserver serve`."""

from __future__ import annotations

import sys

from chatserver.__main__ import main
from chatserver.transport import websocket

SECONDS = 1.0

if __name__ == "__main__":
    for name in ("PING_SECONDS", "CLOSE_SECONDS", "WRITE_SECONDS"):
        setattr(websocket, name, SECONDS)
    sys.exit(main(sys.argv[4:]))
