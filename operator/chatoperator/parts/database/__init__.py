"""PostgreSQL: run here, or by the admin."""
