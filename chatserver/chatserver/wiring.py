"""Makes the parts of a server and wires them by plain constructors."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from chatserver.accounts.code_limits import CodeLimits
from chatserver.accounts.code_senders import LogSender
from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.accounts.export import Exports
from chatserver.accounts.sign_in import Accounts
from chatserver.accounts.webhook import WebhookSender
from chatserver.fanout.bus import PostgresBus
from chatserver.fanout.delivery import Deliverer
from chatserver.fanout.hub import Hub
from chatserver.fanout.polling import Polls
from chatserver.fanout.push_times import PushTimes
from chatserver.fanout.rendered_rows import RenderedRows
from chatserver.fanout.sweeping import HintSweep
from chatserver.fanout.syncing import Syncs
from chatserver.fanout.valkey.bus import ValkeyBus
from chatserver.fanout.valkey.node import Callbacks
from chatserver.fleet.balancing import Balancer
from chatserver.fleet.health import Health
from chatserver.fleet.heartbeat import Heartbeat
from chatserver.fleet.moving import Mover
from chatserver.http.admission import Admission
from chatserver.http.context import Context
from chatserver.limits.rates import Limits, local_buckets
from chatserver.limits.sharing import LimitSharing
from chatserver.messaging.expiry import Expiry
from chatserver.messaging.messages import MessageSender
from chatserver.messaging.pacing import pace_of
from chatserver.messaging.receipts import Receipts
from chatserver.messaging.send_times import SendTimes
from chatserver.messaging.write_times import WriteTimes
from chatserver.messaging.writer import MessageWriter
from chatserver.storage.database import Database
from chatserver.storage.publishing import notify
from chatserver.transport.upkeep import Sockets
from chatserver.transport.write_coalescing import WriteCoalescer
from chatserver.users.number_lookups import NumberLimits, NumberLookups

if TYPE_CHECKING:
    from chatserver.accounts.code_senders import Sender
    from chatserver.fanout.bus import Bus
    from chatserver.metrics import Metrics
    from chatserver.settings import Settings
    from chatserver.storage.servers import Others


def make_context(settings: Settings, metrics: Metrics) -> Context:
    """Make the parts; nothing connects or runs yet."""
    database = Database(
        settings.read_database_dsn,
        server_name=settings.server_name,
        pool_size=settings.database_pool_size,
        read_listen_dsn=settings.read_listen_dsn,
        pooled=settings.database_pooler != "none",
        on_call=metrics.database.observe_call,
    )
    coalescer = WriteCoalescer()
    send_times = SendTimes(metrics.sends, coalescer.wake)
    push_times = PushTimes(metrics.delivery.push_seconds)
    hub = Hub(push_times.queued)
    coalescer.follow(send_times.settle)
    coalescer.follow(push_times.settle)
    chance = random.Random()  # noqa: S311 - which client reconnects when is no secret
    mover = Mover(hub, chance)
    health = Health(database, metrics)
    devices_service = Devices(database, on_ended=hub.sign_out)
    # NOTIFY never carries messages.
    rendered = None if settings.bus.bus_type == "PostgreSQL" else RenderedRows()
    deliverer = Deliverer(
        database,
        devices_service,
        hub,
        metrics.delivery,
        # The bus is made below: it calls the deliverer.
        register=lambda user_ids: bus.register(user_ids),  # noqa: PLW0108
        register_watched=lambda user_ids: bus.register_watched(user_ids),  # noqa: PLW0108
        rendered=rendered,
    )
    bus = _make_bus(settings, metrics, database, hub, deliverer, rendered)
    writer = MessageWriter(database, deliverer.own_batches, times=WriteTimes(metrics.database))
    sockets = Sockets()
    metrics.connections.slow_readers.set_function(lambda: sockets.paused)
    metrics.connections.open.set_function(lambda: len(hub.connections))
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
        on_refused=metrics.requests.count_limited,
    )
    sharing = _share_limits(settings, metrics, bus)
    limits = Limits(
        messages_per_user_per_minute=settings.messages_per_user_per_minute,
        stored_bytes_per_user_per_hour=settings.stored_bytes_per_user_per_hour,
        requests_per_device_per_minute=settings.requests_per_device_per_minute,
        requests_per_address_per_minute=settings.requests_per_address_per_minute,
        on_refused=metrics.requests.count_limited,
        make_buckets=local_buckets if sharing is None else sharing.make_buckets,
    )
    numbers = NumberLookups(
        database,
        NumberLimits(settings.numbers_per_user_per_day, settings.numbers_per_address_per_day),
        on_refused=metrics.requests.count_limited,
    )
    return Context(
        settings=settings,
        metrics=metrics,
        database=database,
        devices=devices_service,
        accounts=accounts,
        sender=sender,
        deletions=Deletions(database, devices_service),
        exports=Exports(database, devices_service),
        expiry=Expiry(database, metrics.expiry, retention_days=settings.retention_days),
        limits=limits,
        limit_sharing=sharing,
        numbers=numbers,
        writer=writer,
        messages=MessageSender(database, writer, limits, numbers, send_times),
        receipts=Receipts(database),
        hub=hub,
        syncs=Syncs(database, hub),
        deliverer=deliverer,
        push_times=push_times,
        coalescer=coalescer,
        sockets=sockets,
        polls=Polls(
            database,
            hub,
            devices_service,
            expect=deliverer.arrivals.expect,
            is_refusing=lambda: health.refusing,
            on_refused=metrics.requests.count_limited,
        ),
        bus=bus,
        sweep=HintSweep(database, metrics.delivery),
        health=health,
        mover=mover,
        admission=Admission(on_let_in=metrics.connections.handshake_wait_seconds.observe),
        balancer=Balancer(
            Heartbeat(
                database,
                period_seconds=settings.heartbeat_seconds,
                bus=settings.bus.name,
                on_others=lambda others: _meet(others, settings, bus, deliverer, writer),
            ),
            hub,
            health,
            mover,
            percent_per_second=settings.shed_percent_per_second,
            on_shed=metrics.connections.shed.inc,
            chance=chance,
        ),
    )


def _make_bus(
    settings: Settings,
    metrics: Metrics,
    database: Database,
    hub: Hub,
    deliverer: Deliverer,
    rendered: RenderedRows | None,
) -> Bus:
    postgres = PostgresBus(
        database.listen,
        partial(notify, database),
        on_hint=deliverer.receive,
        on_listening=deliverer.bus_listens,
        on_health=metrics.delivery.bus_connected.set,
        on_lost=metrics.delivery.bus_losses.inc,
        on_probe=lambda seconds, sent_at, received_at: deliverer.clock.probed(
            seconds, sent_at=sent_at, received_at=received_at
        ),
    )
    if rendered is None:
        return postgres
    bus = ValkeyBus(
        settings.bus,
        postgres,
        server_name=settings.server_name,
        users=hub.following.users,
        watched=hub.watching.users,
        members_of=hub.members.of,
        rows_of=rendered.take,
        callbacks=Callbacks(
            on_hint=deliverer.receive,
            on_listening=deliverer.hints_were_missed,
            on_lost=metrics.delivery.bus_losses.inc,
            on_gap=metrics.delivery.bus_gaps.inc,
        ),
    )
    database.hints.publish_by(bus.publish)
    metrics.delivery.bus_connected.set_function(bus.is_healthy)
    return bus


def _meet(others: Others, settings: Settings, bus: Bus, deliverer: Deliverer, writer: MessageWriter) -> None:
    """Share the database with the other servers, and take their buses: while the setting changes, two of them serve."""
    writer.pace_seconds = pace_of(1 + len(others.connections))
    is_mixed = not others.buses <= {settings.bus.name}
    deliverer.recovery.fleet_is_mixed(is_mixed)
    if isinstance(bus, ValkeyBus):
        bus.notifies_too = is_mixed


def _share_limits(settings: Settings, metrics: Metrics, bus: Bus) -> LimitSharing | None:
    if not isinstance(bus, ValkeyBus):
        return None
    metrics.requests.limits_shared.labels().set_function(bus.limit_counts.is_counting)
    return LimitSharing(bus.limit_counts.count, settings.secret_key)


def _make_sender(settings: Settings, metrics: Metrics) -> Sender:
    webhook = settings.otp_webhook
    if webhook is None:
        return LogSender(metrics.codes.count)
    return WebhookSender(
        webhook.url, webhook.read_secret, on_result=metrics.codes.count, on_answer=metrics.codes.seconds.observe
    )
