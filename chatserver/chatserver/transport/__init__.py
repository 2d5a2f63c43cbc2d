"""WebSocket frames on TCP, and the memory that slow clients use."""
