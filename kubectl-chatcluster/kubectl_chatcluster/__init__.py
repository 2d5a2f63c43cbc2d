"""The kubectl plugin `kubectl chatcluster`: what an admin asks about a ChatCluster, through the user's own kubectl."""
