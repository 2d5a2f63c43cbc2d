"""The number of chatservers: the decision, and its simulation."""
