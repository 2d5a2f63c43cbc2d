"""The kubectl plugin `kubectl chatcluster`: inspects and operates ChatClusters through the user's own kubectl."""
