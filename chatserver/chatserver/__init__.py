"""Stateless Sanic chat server: REST and WebSocket in front of PostgreSQL."""
