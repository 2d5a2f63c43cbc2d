"""Requests to the running parts."""
