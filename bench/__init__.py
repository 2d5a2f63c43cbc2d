"""Load and comparisons: what a chatserver achieves on this machine, compared with the machine's limits."""
