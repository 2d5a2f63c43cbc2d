"""The bus: Valkey pods, or a Valkey that the user runs, and what chatservers need to use it."""
