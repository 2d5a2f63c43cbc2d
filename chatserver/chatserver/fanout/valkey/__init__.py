"""Hints by Valkey: it holds which users are connected to which server, and each server has a channel."""
