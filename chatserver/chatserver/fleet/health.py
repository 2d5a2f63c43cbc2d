"""Whether this server can serve: the state behind ``/readyz``, and the watch over database and schema."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from chatserver.batches import Batches
from chatserver.errors import ServiceUnavailable
from chatserver.storage.epochs import read_epoch
from chatserver.storage.migrate import SchemaRefused, check_schema
from chatserver.storage.outages import VolumeFull
from chatserver.storage.room import find_room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatserver.metrics import Metrics
    from chatserver.storage.database import Database

log = structlog.get_logger()

# Probes of many proxies share one check of the database.
PROBE_SECONDS = 1.0
# A frozen database must turn the probe to 503 before the prober gives up on the answer.
PROBE_TIMEOUT_SECONDS = 1.5
# Between checks for room on the database's volume, each 1.5 ms of its CPU. HAProxy and the operator probe every few
# seconds too, and Ready has to change within ten.
ROOM_SECONDS = 3.0
# A failover that gives the database another epoch cuts connections anyway; until then one read serves many.
EPOCH_SECONDS = 5.0
# Connections that wait for the epoch together: all that there can be.
WAITING_TOGETHER = 100_000
# Between checks of a schema that is not there yet.
SCHEMA_RETRY_SECONDS = 1.0


class Health:
    """Readiness of this server.

    Attributes:
        started: the API's port is open.
        draining: SIGTERM has arrived.
        refusing: the proxies send no more clients: the drain moves those that are here, and new ones are rejected.
        schema_ready: set once the database has been seen to have this code's schema.
        volume_full: the database answers, but its volume has no room: nothing can be stored.
    """

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self.started = False
        self.draining = False
        self.refusing = False
        self.schema_ready = asyncio.Event()
        self.volume_full = False
        self._database = database
        self._metrics = metrics
        self._probed_at = -PROBE_SECONDS
        self._database_ok = False
        self._lock = asyncio.Lock()
        self._epoch = ""
        self._epoch_at = -EPOCH_SECONDS
        self._epochs = Batches(self._read_epoch, most=WAITING_TOGETHER)

    def begin_drain(self, within_seconds: float) -> None:
        """Turn unready; the drain ends within so many seconds."""
        self._metrics.process.drain_deadline.set(time.time() + within_seconds)
        self.draining = True
        self._metrics.process.draining.set(1)

    def is_serving(self) -> bool:
        """Whether the server has started and does not drain: readiness without the database."""
        return self.started and not self.draining

    async def is_ready(self) -> bool:
        """Whether the server serves, and the database has this code's schema and takes writes."""
        return self.is_serving() and await self._probe()

    async def is_answering(self) -> bool:
        """The same of a request that has come here: one that drains answers until the proxies have noticed."""
        return self.started and not self.refusing and await self._probe()

    async def _probe(self) -> bool:
        async with self._lock:
            if time.monotonic() - self._probed_at < PROBE_SECONDS:
                return self._database_ok
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                    await self._database.ping()
                self._database_ok = self.schema_ready.is_set()
            except (ServiceUnavailable, TimeoutError):
                self._database_ok = False
            self._probed_at = time.monotonic()
            return self._database_ok

    async def watch_room(self) -> None:
        """Keep checking whether the database answers and its volume has room; runs until cancelled.

        Beside the probe, which must be quick. Servers with a full volume stay ready, since they serve what needs no
        room; but they report it.
        """
        while True:
            try:
                await self._look_for_room()
            except ServiceUnavailable:
                self._metrics.database.up.set(0)
            else:
                self._metrics.database.up.set(1)
            await asyncio.sleep(ROOM_SECONDS)

    async def _look_for_room(self) -> None:
        full = False
        try:
            await find_room(self._database)
        except VolumeFull:
            full = True
        if full != self.volume_full:
            log.warning("volume_full" if full else "volume_has_room")
        self.volume_full = full
        self._metrics.database.volume_full.set(full)

    async def epoch(self) -> str:
        """Return which history of the database the cursors and numbers given out belong to.

        Raises:
            ServiceUnavailable: the database is unavailable, or it is not known yet which history it has.
        """
        if time.monotonic() - self._epoch_at >= EPOCH_SECONDS:
            await self._epochs.submit(None)
        return self._epoch

    async def _read_epoch(self, requests: Sequence[None]) -> Sequence[None]:
        self._epoch = await read_epoch(self._database)
        self._epoch_at = time.monotonic()
        return requests

    async def watch_schema(self) -> None:
        """Return when the database has the schema that this code needs; log each reason why it has not once."""
        said = ""
        while not self.schema_ready.is_set():
            try:
                await check_schema(self._database)
                self.schema_ready.set()
            except ServiceUnavailable:
                reason = "The database is unavailable."
            except SchemaRefused as error:
                reason = str(error)
            if not self.schema_ready.is_set():
                if reason != said:
                    log.warning("schema_not_ready", reason=reason)
                    said = reason
                await asyncio.sleep(SCHEMA_RETRY_SECONDS)
        log.info("schema_ready")
