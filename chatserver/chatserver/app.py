"""The composition root: makes the parts, wires them by plain constructors, runs and ends them in order."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
from typing import TYPE_CHECKING

import structlog
from sanic import Sanic
from sanic.config import Config

from chatserver.accounts.code_limits import CodeLimits
from chatserver.accounts.code_senders import LogSender
from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.accounts.sign_in import Accounts
from chatserver.accounts.webhook import WebhookSender
from chatserver.apidocs import documents
from chatserver.fanout.bus import PostgresBus
from chatserver.fanout.delivery import Deliverer
from chatserver.fanout.hub import Hub
from chatserver.fanout.polling import Polls
from chatserver.fanout.syncing import Syncs
from chatserver.fleet.balancing import Balancer
from chatserver.fleet.drain import Drain
from chatserver.fleet.health import Health
from chatserver.http import parameters, problems
from chatserver.http.admission import Admission
from chatserver.http.context import App, Context
from chatserver.http.routes import (
    auth,
    blocks,
    changes,
    chats,
    devices,
    groups,
    health,
    messages,
    page,
    receipts,
    users,
)
from chatserver.http.serving import listening
from chatserver.limits.rates import Limits
from chatserver.loops import running
from chatserver.messaging.messages import MessageSender
from chatserver.messaging.receipts import Receipts
from chatserver.messaging.writer import MessageWriter
from chatserver.metrics import Metrics, MetricsServer
from chatserver.protocol import MAX_FRAME_BYTES
from chatserver.socket import route as ws
from chatserver.storage.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.accounts.code_senders import Sender
    from chatserver.settings import Settings

log = structlog.get_logger()

# Bodies: a text of 65,536 characters, or 1,024 names of a group, however JSON writes them.
MAX_BODY_BYTES = MAX_FRAME_BYTES
# A long poll is answered within this time.
RESPONSE_SECONDS = messages.MAX_WAIT_SECONDS + 30
# Longer than HAProxy's own keep-alive to servers, so that it is the proxy who closes an idle connection.
KEEP_ALIVE_SECONDS = 75
# New objects between two looks for cycles, and such looks until older objects are looked at too. Messages make no
# cycles, but Python would walk through all that 10,000 connections have again and again (at 700, 10 and 10).
GC_THRESHOLDS = (50_000, 20, 20)


def make_context(settings: Settings, metrics: Metrics) -> Context:
    """Make the parts; nothing connects or runs yet."""
    database = Database(
        settings.read_database_dsn,
        server_name=settings.server_name,
        pool_size=settings.database_pool_size,
        read_listen_dsn=settings.read_listen_dsn,
        pooled=settings.database_pooler != "none",
        on_seconds=metrics.observe_database_call,
    )
    hub = Hub()
    health = Health(database, metrics)
    devices_service = Devices(database, on_ended=hub.revoke)
    deliverer = Deliverer(database, devices_service, hub, metrics)
    bus = PostgresBus(
        database.listen,
        database.notify,
        on_hint=deliverer.hear,
        on_listening=deliverer.hints_were_missed,
        on_health=metrics.bus_connected.set,
    )
    writer = MessageWriter(database, deliverer)
    metrics.connections.set_function(lambda: len(hub.connections))
    sender = _make_sender(settings, metrics)
    accounts = Accounts(
        database,
        secret_key=settings.secret_key,
        limits=CodeLimits(
            per_address_per_hour=settings.codes_per_address_per_hour,
            per_number_per_hour=settings.codes_per_number_per_hour,
            per_hour=settings.codes_per_hour,
            calling_codes=settings.calling_codes,
        ),
        session_days=settings.session_days,
        sender=sender,
        on_refused=metrics.count_rate_limited,
    )
    limits = Limits(
        messages_per_user_per_minute=settings.messages_per_user_per_minute,
        stored_bytes_per_user_per_hour=settings.stored_bytes_per_user_per_hour,
        requests_per_device_per_minute=settings.requests_per_device_per_minute,
        requests_per_address_per_minute=settings.requests_per_address_per_minute,
        on_refused=metrics.count_rate_limited,
    )
    return Context(
        settings=settings,
        metrics=metrics,
        database=database,
        devices=devices_service,
        accounts=accounts,
        sender=sender,
        deletions=Deletions(database, devices_service),
        limits=limits,
        writer=writer,
        messages=MessageSender(database, writer, limits, metrics),
        receipts=Receipts(database),
        hub=hub,
        syncs=Syncs(database, hub),
        deliverer=deliverer,
        polls=Polls(
            database,
            hub,
            devices_service,
            learn=deliverer.learn,
            is_refusing=lambda: health.refusing,
            on_refused=metrics.count_rate_limited,
        ),
        bus=bus,
        health=health,
        admission=Admission(on_let_in=metrics.handshake_wait_seconds.observe),
        balancer=Balancer(
            database,
            hub,
            health,
            heartbeat_seconds=settings.heartbeat_seconds,
            percent_per_second=settings.shed_percent_per_second,
            on_shed=metrics.shed.inc,
            chance=random.Random(),  # noqa: S311 - whom to ask is no secret
        ),
    )


def _make_sender(settings: Settings, metrics: Metrics) -> Sender:
    webhook = settings.otp_webhook
    if webhook is None:
        return LogSender(metrics.count_code)
    return WebhookSender(webhook.url, webhook.read_secret, on_result=metrics.count_code)


def make_app(context: Context) -> App:
    """Make the Sanic app with all routes."""
    config = Config(
        {
            "REQUEST_MAX_SIZE": MAX_BODY_BYTES,
            "REQUEST_TIMEOUT": context.settings.request_seconds,
            "RESPONSE_TIMEOUT": RESPONSE_SECONDS,
            "KEEP_ALIVE_TIMEOUT": KEEP_ALIVE_SECONDS,
            "ACCESS_LOG": False,
            "AUTO_EXTEND": False,
            "MOTD": False,
        },
        # Only CHAT_* configures a chatserver.
        env_prefix=None,
    )
    app: App = Sanic(
        "chatserver",
        config=config,
        ctx=context,
        configure_logging=False,
        error_handler=problems.ProblemHandler(),
        strict_slashes=True,
    )
    problems.add_middleware(app)
    parameters.add_middleware(app)
    for part in (auth, users, devices, messages, chats, changes, receipts, groups, blocks, health, documents, ws):
        part.add_routes(app)
    page.add_routes(app, context.settings.web_root)
    return app


async def serve(settings: Settings, on_serving: Callable[[int], None] | None = None) -> None:
    """Run a chatserver until SIGTERM or SIGINT has drained it.

    Args:
        settings: this server's.
        on_serving: told the API's port once it is open.

    Raises:
        OSError: a port is taken.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    metrics = Metrics()
    context = make_context(settings, metrics)
    metrics_server = MetricsServer(metrics, settings.http_host, settings.metrics_port)
    metrics_server.start()
    try:
        async with running(context), listening(make_app(context), settings) as port:
            _settle_memory()
            log.info("serving", port=port, metrics_port=metrics_server.port)
            if on_serving is not None:
                on_serving(port)
            await stop.wait()
            drain = Drain(
                settings,
                health=context.health,
                hub=context.hub,
                writer=context.writer,
                answers=context.tasks,
                hurry=hurry,
            )
            await drain.run()
    finally:
        metrics_server.stop()
    log.info("stopped")


def _settle_memory() -> None:
    """Look for cycles rarely, and never among what there is by now: it stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
