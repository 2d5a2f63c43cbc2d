"""The cache: lists and watches ChatClusters and every kind of child once, and says whose reconcile to wake."""

from __future__ import annotations

import asyncio
import functools
import random
from typing import TYPE_CHECKING

import structlog

from chatoperator import metrics
from chatoperator.errors import KubeError
from chatoperator.kube.client import FORBIDDEN, NOT_FOUND
from chatoperator.kube.kinds import FOLLOWED
from chatoperator.kube.store import BYTES_MAX, Store
from chatoperator.kube.transport import GONE
from chatoperator.metadata import KIND, MANAGED_SELECTOR
from chatoperator.supervision import failed, supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chatoperator.kube.client import Kube
    from chatoperator.kube.lanes import Key
    from chatoperator.kube.store import Scope
    from chatoperator.metadata import Manifest

BACKOFF_SECONDS = (0.5, 1, 2, 4, 8)
"""Waits after a kind could not be listed or watched, several times in a row; each with up to a fifth more, so that
the kinds do not all send requests at once when the API server is back."""

MISSING_KIND_SECONDS = 30
"""Between two looks whether the API server serves a kind by now, whose CRD somebody may have installed since."""

SHUT_NAMESPACE_SECONDS = 10
"""Between two looks whether a namespace that may not be read has its Role again."""

log = structlog.get_logger(__name__)


class Cache:
    """ChatClusters, their children and pods as lists and watches delivered them, without further requests.

    Args:
        kube: The API server.
        namespaces: Those to look at; none for all.
        monotonic: Seconds that never go back.
        bytes_max: Of all objects that are kept.
    """

    def __init__(
        self,
        kube: Kube,
        namespaces: Iterable[str],
        *,
        monotonic: Callable[[], float],
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._kube = kube
        self._places: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._followed: list[Scope] = [(kind, place) for place in self._places for kind in FOLLOWED]
        self._monotonic = monotonic
        self._store = Store(bytes_max)
        self._crowded: frozenset[str] = frozenset()
        self._versions: dict[Scope, str] = {}
        self._started = monotonic()
        self._heard_at: dict[Scope, float] = {}
        self._unserved: set[str] = set()
        self._unknown = {place: set(FOLLOWED) for place in self._places}
        self._filled = {place: asyncio.Event() for place in self._places}

    async def run(self, wake: Callable[[Key], None]) -> None:
        """List and watch until cancelled.

        Args:
            wake: Called with each ChatCluster of which something has changed.
        """
        self._started = self._monotonic()
        async with asyncio.TaskGroup() as tasks:
            for scope in self._followed:
                kind, place = scope
                name = f"watch {kind}" if place is None else f"watch {kind} in {place}"
                tasks.create_task(supervised(f"watch {kind}", functools.partial(self._follow, scope, wake)), name=name)

    async def filled(self, namespace: str) -> None:
        """Wait until every kind of a namespace was listed once: before that, what exists looks as if it did not."""
        await self._filled[self._place(namespace)].wait()

    def silent_seconds(self) -> float:
        """Seconds since the API server was last heard on what it was longest not heard on."""
        return self._monotonic() - min(self._heard_at.get(scope, self._started) for scope in self._followed)

    def serves(self, kind: str) -> bool:
        """Whether the cluster has a kind, as far as a list has shown yet."""
        return kind not in self._unserved

    def chatcluster(self, key: Key) -> Manifest | None:
        """A ChatCluster; None where there is none."""
        return self._store.chatcluster(key)

    def size(self, key: Key) -> int:
        """Bytes of a ChatCluster as text, without its objects; 0 where there is none."""
        return self._store.size(key)

    def owned(self, key: Key) -> dict[tuple[str, str], Manifest]:
        """The children and pods of a ChatCluster by (kind, name)."""
        return self._store.owned(key)

    def note(self, raw: Manifest | None) -> None:
        """Take the answer to a request that wrote or read an object, so that the next look sees at least that."""
        if raw is not None:
            self._store.note((raw["kind"], self._place(raw["metadata"]["namespace"])), raw)

    async def look_again(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, requested from the API server; None where it does not exist.

        Raises:
            KubeError: The API server did not answer.
        """
        found = await self._kube.get(kind, namespace, name)
        if found is None:
            self._store.forget(kind, namespace, name)
        else:
            self.note(found)
        return found

    def chatclusters(self) -> list[Key]:
        """All ChatClusters, as the cache has them."""
        return self._store.chatclusters()

    async def refill(self) -> None:
        """List everything again.

        Raises:
            KubeError: The API server did not answer.
        """
        for scope in self._followed:
            await self._fill(scope)

    def _place(self, namespace: str) -> str | None:
        """Of the lists and watches that contain a namespace."""
        return None if self._places == (None,) else namespace

    async def _follow(self, scope: Scope, wake: Callable[[Key], None]) -> None:
        kind, place = scope
        failures = 0
        while True:
            try:
                if scope not in self._versions or self._store.has_room_again(scope):
                    for key in await self._fill(scope):
                        wake(key)
                if scope not in self._versions:
                    await asyncio.sleep(MISSING_KIND_SECONDS)
                    continue
                await self._watch(scope, wake)
                failures = 0
            except KubeError as error:
                if error.status == FORBIDDEN and len(self._places) > 1:
                    if kind == KIND:
                        log.warning("cannot read a namespace", namespace=place, error=str(error))
                    # A namespace that was deleted has taken its Role along; the others continue.
                    self._heard(scope)
                    self._versions.pop(scope, None)
                    await asyncio.sleep(SHUT_NAMESPACE_SECONDS)
                    continue
                if error.status in (GONE, NOT_FOUND):
                    # The watch was interrupted for so long that only a list shows what happened; or the kind has gone.
                    self._versions.pop(scope, None)
                else:
                    log.warning("watch failed", kind=kind, namespace=place, error=str(error))
                wait = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
                failures += 1
                await asyncio.sleep(wait * random.uniform(1, 1.2))  # noqa: S311 - no secret

    async def _fill(self, scope: Scope) -> set[Key]:
        """List a kind. A cluster that has no such kind has none of it.

        Returns:
            The ChatClusters of which something is different.
        """
        kind, _ = scope
        try:
            touched = await self._list(scope, _selector(kind))
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
            self._unserved.add(kind)
            self._versions.pop(scope, None)
            touched = self._store.drop(scope)
            self._heard(scope)
            self._know(scope)
        else:
            self._unserved.discard(kind)
        return touched

    async def _list(self, scope: Scope, selector: str | None) -> set[Key]:
        """Fill the cache with all objects of a kind, in a namespace or all.

        Returns:
            The ChatClusters of which something is different.
        """
        kind, place = scope
        version = ""
        touched: set[Key] = set()
        try:
            async for page, version in self._kube.pages(kind, place, selector):  # noqa: B007 - the last one counts
                for raw in page:
                    touched |= self._take(scope, raw)
                # One page at a time: the next one may be as large.
                del page
        except BaseException:
            self._store.abandon(scope)
            raise
        touched |= self._store.complete(scope, version)
        self._versions[scope] = version
        metrics.RELISTS.labels(kind=kind).inc()
        self._heard(scope)
        self._know(scope)
        return touched

    async def _watch(self, scope: Scope, wake: Callable[[Key], None]) -> None:
        """Follow one watch to its end."""
        kind, place = scope
        async for event, raw in self._kube.watch(kind, place, _selector(kind), self._versions[scope]):
            self._versions[scope] = raw["metadata"]["resourceVersion"]
            for key in self._take(scope, raw, event):
                wake(key)
        self._heard(scope)

    def _take(self, scope: Scope, raw: Manifest, event: str | None = None) -> set[Key]:
        """Take one object of a list, or an event of a watch. One that cannot be taken is left out, and no other one.

        Returns:
            The ChatClusters to look at.
        """
        try:
            touched = self._store.listed(scope, [raw]) if event is None else self._store.apply_event(scope, event, raw)
        except Exception as error:  # noqa: BLE001 - whatever it was, the others are taken
            metadata = raw.get("metadata") or {}
            failed(f"watch {scope[0]}", error, namespace=metadata.get("namespace"), name=metadata.get("name"))
            return set()
        if self._store.is_crowded != bool(self._crowded):
            self._report_crowded()
        return touched

    def _heard(self, scope: Scope) -> None:
        self._heard_at[scope] = self._monotonic()
        metrics.CACHED.set(len(self._store))
        metrics.CACHED_BYTES.set(self._store.bytes_taken)
        self._report_crowded()

    def _report_crowded(self) -> None:
        """Report the namespaces for whose objects there is no room, and those for which there is again."""
        without_room = self._store.without_room()
        for namespace, count in without_room.items():
            metrics.WITHOUT_ROOM.labels(namespace=namespace).set(count)
            if namespace not in self._crowded:
                log.warning(
                    "no memory for all objects of a namespace",
                    namespace=namespace,
                    left_out=count,
                    remedy="delete objects in it, limit them with a ResourceQuota, or raise "
                    "resources.limits.memory of the operator",
                )
        for namespace in self._crowded - without_room.keys():
            metrics.WITHOUT_ROOM.remove_by_labels({"namespace": namespace})
        self._crowded = frozenset(without_room)

    def _know(self, scope: Scope) -> None:
        """Note that a kind has been listed once."""
        kind, place = scope
        self._unknown[place].discard(kind)
        if not self._unknown[place]:
            self._filled[place].set()


def _selector(kind: str) -> str | None:
    """What of a kind is the operator's own."""
    return None if kind == KIND else MANAGED_SELECTOR
