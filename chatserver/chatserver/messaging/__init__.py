"""Chats and their rows: sending, changing, reading, syncing, receipts, groups."""
