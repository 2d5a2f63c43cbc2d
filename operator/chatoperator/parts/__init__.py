"""The parts of a chat: their manifests, and the decisions that belong to one part. Pure."""
