"""The ChatCluster resource: its types, parsing, and readers of single values. Pure."""
