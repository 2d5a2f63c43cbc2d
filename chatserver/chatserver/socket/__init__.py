"""``/api/ws``: who gets a WebSocket, its state machine, and what its frames lead to."""
