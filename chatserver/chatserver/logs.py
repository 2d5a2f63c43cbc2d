"""JSON logs on stdout, one event a line, with the request's id; the only importer of structlog's configuration."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog
from structlog.tracebacks import ExceptionDictTransformer

if TYPE_CHECKING:
    from structlog.typing import Processor

# Sanic's own loggers log nothing useful below warnings; errors of handlers are logged by http/problems.py. httpx
# logs each request with its URL, in which a gateway may have put a secret.
QUIET_LOGGERS = ("sanic.root", "sanic.error", "sanic.server", "sanic.websockets", "sanic.access", "websockets", "httpx")
# picows logs every connection, and clients' mistakes as errors; clients get a close code for those.
SILENT_LOGGERS = ("picows.server",)


def configure_logs(level: str, server: str) -> None:
    """Write the records of structlog and of the standard library to stdout as JSON.

    Args:
        level: lowest level that is written, as in ``CHAT_LOG_LEVEL``.
        server: this server's name, in every line.
    """

    def add_server(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["server"] = server
        return event

    number = logging.getLevelNamesMapping()[level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_server,
    ]
    # Without local variables: they hold tokens, texts and the DSN.
    tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    render: list[Processor] = [tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(level=max(number, logging.INFO), handlers=[handler], force=True)
    for name in SILENT_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in QUIET_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
