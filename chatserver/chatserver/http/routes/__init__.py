"""Handlers of the REST API: each parses, makes one call, and renders the answer."""
