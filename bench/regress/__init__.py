"""What a message costs, counted and not timed: the same on a busy machine as on an idle one."""
