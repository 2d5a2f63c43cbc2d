"""``chatserver probe``: two accounts send messages through the whole chat, and metrics report what becomes of them."""
