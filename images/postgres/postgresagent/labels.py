"""The label of pods by which Services find the leader and the replicas."""

ROLE_LABEL = "chatcluster.io/role"

LEADERS_LABEL, REPLICAS_LABEL = "primary", "replica"
"""Its values."""
