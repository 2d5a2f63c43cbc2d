"""Load and comparisons: what a chatserver can do on this machine, beside what the machine can do at all."""
