"""SQL, each statement beside the function that runs it, and the only importers of asyncpg."""
