"""The HTTP and WebSocket surfaces: parse, one call, render."""
