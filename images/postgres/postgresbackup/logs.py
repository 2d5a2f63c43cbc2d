"""The log of backups and restores: one line of JSON an event, as that of the agent beside PostgreSQL."""

from __future__ import annotations

import functools

from postgresagent import logs

log = functools.partial(logs.log, logger="postgres-backup")
