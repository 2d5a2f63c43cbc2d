"""Limits of one server: rates, client addresses, places for each user."""
