"""Delivery of rows and signals to the connections of this server, and hints to the other servers."""
