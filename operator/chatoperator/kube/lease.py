"""Leadership among several operator processes: a Lease in the API server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

if TYPE_CHECKING:
    from collections.abc import Coroutine

LEASE_SECONDS, RENEW_WITHIN_SECONDS, RENEW_EVERY_SECONDS = 15, 10, 2
"""As client-go and Kubernetes' own controllers have them: a leader that died is replaced after 15 to 17 s. One that
cannot renew stops 12 s after it last could, 3 s before another one may start."""

LEASE_REQUEST_SECONDS = 5
"""So that a request that hangs is tried again before the leader stops: half of the time, as in client-go."""


class Lease:
    """Leadership: at most one holder at a time.

    Args:
        api: The API server.
        namespace: Of the Lease.
        name: Of the Lease.
        identity: Of this process.
    """

    def __init__(self, api: client.ApiClient, namespace: str, name: str, identity: str) -> None:
        self._lock = lock = _Lock(name, namespace, identity, api)
        # Its run() would continue after the leader's work has ended; the two halves of it are what is needed.
        self._election = _Election(
            Config(
                lock=lock,
                lease_duration=LEASE_SECONDS,
                renew_deadline=RENEW_WITHIN_SECONDS,
                retry_period=RENEW_EVERY_SECONDS,
                onstarted_leading=_nothing,
                onstopped_leading=_nothing,
            )
        )

    async def acquire(self) -> None:
        """Wait until this process holds the Lease."""
        await self._election.acquire()

    async def keep(self) -> None:
        """Renew the Lease; returns when it is lost."""
        await self._election.renew_loop()

    async def release(self) -> None:
        """Give the Lease back, so that a standby need not wait until it runs out."""
        await self._lock.release()


class _Election(LeaderElection):
    """An election that no jump of the clock decides: the library measures its waits by the time of day."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._offset = _clock_offset()

    async def try_acquire_or_renew(self) -> bool:
        """One look at the Lease; the last one moves along with a clock that has jumped since."""
        offset = _clock_offset()
        self.observed_time_milliseconds += round((offset - self._offset) * 1000)
        self._offset = offset
        return await super().try_acquire_or_renew()

    async def renew_loop(self) -> None:
        """Renew until it has not worked for RENEW_WITHIN_SECONDS, even if a request hangs."""
        clock = asyncio.get_running_loop().time
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RENEW_WITHIN_SECONDS) as deadline:
                while True:
                    if await self.try_acquire_or_renew():
                        deadline.reschedule(clock() + RENEW_EVERY_SECONDS + RENEW_WITHIN_SECONDS)
                    await asyncio.sleep(RENEW_EVERY_SECONDS)


def _clock_offset() -> float:
    """Seconds between the time of day and a clock that never jumps."""
    return time.time() - time.monotonic()


async def _nothing() -> None:
    """What the election would start and stop automatically."""


class _Lock(LeaseLock):
    """A Lease whose requests end in time, and for which an API server that does not answer is a refusal."""

    async def get(self, name: str, namespace: str) -> Any:
        try:
            async with asyncio.timeout(LEASE_REQUEST_SECONDS):
                return await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=f"{type(error).__name__}: {error}")

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        # The library's own passes a parameter that its own client refuses.
        lease = client.V1Lease(metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        return await self._tried(self.api_instance.create_namespaced_lease(namespace, lease))

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        return await self._tried(super().update(name, namespace, updated_record))

    async def release(self) -> None:
        """Empty the holder's name, where it is this process's."""
        found, _ = await self.get(self.name, self.namespace)
        lease: Any = self.lease_reference
        if not found or lease.spec.holder_identity != self.identity:
            return
        lease.spec.holder_identity = ""
        await self._tried(self.api_instance.replace_namespaced_lease(self.name, self.namespace, lease))

    @staticmethod
    async def _tried(request: Coroutine[Any, Any, Any]) -> bool:
        try:
            async with asyncio.timeout(LEASE_REQUEST_SECONDS):
                return bool(await request)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError):
            return False
