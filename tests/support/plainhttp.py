"""Clients of servers without TLS: httpx reads all authorities of the machine for each of its clients, 50 ms of CPU."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For `verify`: what is never used need not be read."""
