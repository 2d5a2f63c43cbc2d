"""The ChatCluster's CRD, and the reference page made from it."""
