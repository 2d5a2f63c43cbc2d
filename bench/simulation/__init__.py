"""``bench simulate``: what a chat of any size would cost, from what single parts of it were measured to cost."""
