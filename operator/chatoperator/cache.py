"""The cache: lists and watches every kind of child once for all ChatClusters, and says whose reconcile to wake."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import KubeError
from chatoperator.kinds import FOLLOWED
from chatoperator.kube import GONE, NOT_FOUND
from chatoperator.manifests.metadata import KIND, MANAGED_SELECTOR
from chatoperator.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatoperator.kube import Kube
    from chatoperator.manifests.metadata import Manifest
    from chatoperator.workqueue import Key

BACKOFF_SECONDS = (0.5, 1, 2, 4, 8)
"""Waits after a kind could not be listed or watched, several times in a row; each with up to a fifth more, so that
the kinds do not all ask at once when the API server is back."""

MISSING_KIND_SECONDS = 30
"""Between two looks whether the API server serves a kind by now, whose CRD somebody may have installed since."""

log = structlog.get_logger(__name__)


class Cache:
    """ChatClusters, their children and pods as the API server last told, without asking it again.

    Args:
        kube: The API server.
        namespace: The one namespace to look at; None for all.
        monotonic: Seconds that never go back.
    """

    def __init__(self, kube: Kube, namespace: str | None, *, monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._namespace = namespace
        self._monotonic = monotonic
        self._store = Store()
        self._versions: dict[str, str] = {}
        self._started = monotonic()
        self._heard_at: dict[str, float] = {}
        self._unserved: set[str] = set()
        self._filled = asyncio.Event()

    async def run(self, wake: Callable[[Key], None]) -> None:
        """List and watch until cancelled.

        Args:
            wake: Told each ChatCluster that something has changed of.
        """
        self._started = self._monotonic()
        async with asyncio.TaskGroup() as tasks:
            for kind in FOLLOWED:
                tasks.create_task(self._follow(kind, wake), name=f"watch {kind}")

    async def filled(self) -> None:
        """Wait until every kind has been listed once: before that, what exists looks as if it did not."""
        await self._filled.wait()

    def silent_seconds(self) -> float:
        """Seconds since the kind that was longest not heard of was listed or its watch began anew."""
        return self._monotonic() - min(self._heard_at.get(kind, self._started) for kind in FOLLOWED)

    def serves(self, kind: str) -> bool:
        """Whether the cluster has a kind, as far as it was asked yet."""
        return kind not in self._unserved

    def chatcluster(self, key: Key) -> Manifest | None:
        """A ChatCluster; None where there is none."""
        return self._store.chatcluster(key)

    def owned(self, key: Key) -> dict[tuple[str, str], Manifest]:
        """The children and pods of a ChatCluster by (kind, name)."""
        return self._store.owned(key)

    def told(self, news: str | None, chatcluster: Manifest) -> set[Key]:
        """Take what Kopf's watch says of a ChatCluster; its lists have no word for what they bring.

        Returns:
            The ChatCluster, if it is to be looked at.
        """
        return self._store.told(KIND, news or "MODIFIED", chatcluster)

    def note(self, raw: Manifest | None) -> None:
        """Take the answer to a request that wrote or read an object, so that the next look sees at least that."""
        if raw is not None:
            self._store.note(raw["kind"], raw)

    async def look_again(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, asked of the API server; None where it does not exist.

        Raises:
            KubeError: The API server did not answer.
        """
        found = await self._kube.get(kind, namespace, name)
        if found is None:
            self._store.forget(kind, namespace, name)
        else:
            self.note(found)
        return found

    async def list_chatclusters(self) -> list[Key]:
        """All ChatClusters, asked of the API server, whatever a watch has missed.

        Raises:
            KubeError: The API server did not answer.
        """
        await self._list(KIND, None)
        return self._store.chatclusters()

    async def refill(self) -> None:
        """List everything anew.

        Raises:
            KubeError: The API server did not answer.
        """
        await self._list(KIND, None)
        for kind in FOLLOWED:
            await self._fill(kind)

    async def _follow(self, kind: str, wake: Callable[[Key], None]) -> None:
        failures = 0
        while True:
            try:
                if kind not in self._versions:
                    for key in await self._fill(kind):
                        wake(key)
                if kind in self._unserved:
                    await asyncio.sleep(MISSING_KIND_SECONDS)
                    continue
                await self._watch(kind, wake)
                failures = 0
            except KubeError as error:
                if error.status in (GONE, NOT_FOUND):
                    # It was away for so long that only a list tells what happened meanwhile; or the kind has gone.
                    self._versions.pop(kind, None)
                else:
                    log.warning("watch failed", kind=kind, error=str(error))
                wait = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
                failures += 1
                await asyncio.sleep(wait * random.uniform(1, 1.2))  # noqa: S311 - no secret

    async def _fill(self, kind: str) -> set[Key]:
        """List a kind of children. A cluster that has no such kind has none of it.

        Returns:
            The ChatClusters of which something is different.
        """
        try:
            touched = await self._list(kind, MANAGED_SELECTOR)
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            self._unserved.add(kind)
            self._versions.pop(kind, None)
            touched = self._store.drop(kind)
            self._heard(kind)
        else:
            self._unserved.discard(kind)
        return touched

    async def _list(self, kind: str, selector: str | None) -> set[Key]:
        """Fill the cache with all objects of a kind.

        Returns:
            The ChatClusters of which something is different.
        """
        version = ""
        touched: set[Key] = set()
        try:
            async for page, version in self._kube.pages(kind, self._namespace, selector):  # noqa: B007 - the last one counts
                touched |= self._store.listed(kind, page)
        except BaseException:
            self._store.abandon(kind)
            raise
        touched |= self._store.complete(kind, version)
        self._versions[kind] = version
        metrics.RELISTS.labels(kind=kind).inc()
        self._heard(kind)
        return touched

    async def _watch(self, kind: str, wake: Callable[[Key], None]) -> None:
        """Follow one watch to its end."""
        async for news, raw in self._kube.watch(kind, self._namespace, MANAGED_SELECTOR, self._versions[kind]):
            self._versions[kind] = raw["metadata"]["resourceVersion"]
            for key in self._store.told(kind, news, raw):
                wake(key)
        self._heard(kind)

    def _heard(self, kind: str) -> None:
        if kind in FOLLOWED:
            self._heard_at[kind] = self._monotonic()
            if len(self._heard_at) == len(FOLLOWED):
                self._filled.set()
        metrics.CACHED.set(len(self._store))
