"""Backups by pgBackRest: the pod that has the repository, and what PostgreSQL's pods need to reach it."""
