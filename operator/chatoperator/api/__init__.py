"""The ChatCluster resource: its structs, one file for each part of the spec, and their parsing. Pure."""
