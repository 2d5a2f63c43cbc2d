"""The command ``chatserver dev``: a server with a PostgreSQL of its own."""
