"""Several PostgreSQL instances under Patroni: their objects, their rights at the API server, the order of changes."""
