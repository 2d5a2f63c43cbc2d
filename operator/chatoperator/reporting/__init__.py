"""Status fields, Events, and texts that a ChatCluster shows its admin. Pure."""
