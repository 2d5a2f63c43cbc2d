"""The operator's memory is lost at a write of a bring-up: a new one ends where an undisturbed one would have."""

from __future__ import annotations

import itertools
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.kube.client import Kube
from tests.support.findings import tell
from tests.support.operators import SERVED, Operator

if TYPE_CHECKING:
    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

EVERY = int(os.environ.get("CHAT_KILL_EVERY", "9"))
"""Of the writes, each so many-th is tried; `CHAT_KILL_EVERY=1` tries all."""

ROUNDS_MAX = 20

_numbers = itertools.count(1)


class Killed(BaseException):
    """The process has ended: nothing of its own runs any more, whatever it would have caught."""


class Dying(Kube):
    """The operator's client, whose process ends right before or right after one of its writes."""

    def __init__(self, kube: Kube) -> None:
        super().__init__(kube._api)
        self.writes: list[str] = []
        self.dies_at: tuple[int, str] | None = None

    async def _request(self, method: str, path: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        if method == "GET":
            return await super()._request(method, path, *arguments, **named)
        self.writes.append(f"{method} {path}")
        number = len(self.writes)
        if self.dies_at == (number, "before"):
            raise Killed
        answer = await super()._request(method, path, *arguments, **named)
        if self.dies_at == (number, "after"):
            raise Killed
        return answer


class Life:
    """One ChatCluster in a namespace of its own, brought up by operators of which one is killed."""

    def __init__(self, server: ApiServer, kube: Kube, minimal: dict[str, Any]) -> None:
        self.namespace = f"killed-{os.getpid()}-{next(_numbers)}"
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        server.client.post("/api/v1/namespaces", json=made).raise_for_status()
        chatcluster = {**minimal, "metadata": {"name": "demo", "namespace": self.namespace}}
        self.kube = Dying(kube)
        self.operator = Operator(self.kube, server, chatcluster)
        self.operator.create()
        self.secrets: dict[str, Any] = {}

    async def run(self) -> None:
        """Reconcile until the bring-up is through; the credentials stay what they first were."""
        migrated = False
        for _ in range(ROUNDS_MAX):
            await self._reconcile()
            await self._check_secrets()
            if not migrated and await self.kube.list("Job", self.namespace):
                await self.operator.migrated()
                migrated = True
            if await self.kube.get("Deployment", self.namespace, "demo-chatserver"):
                break
        # Whatever was begun is ended, and then there is nothing left to do.
        for _ in range(3):
            await self._reconcile()
        before = len(self.kube.writes)
        await self.operator.reconcile()
        await self._check_secrets()
        assert self.kube.writes[before:] == []

    async def _reconcile(self) -> None:
        try:
            await self.operator.reconcile()
        except Killed:
            self.operator.restart()

    async def _check_secrets(self) -> None:
        for secret in await self.kube.list("Secret", self.namespace):
            name = secret["metadata"]["name"]
            assert self.secrets.setdefault(name, secret["data"]) == secret["data"], f"{name} was made anew"

    async def children(self) -> set[tuple[str, str]]:
        """(kind, name) of all there are; a migrate Job's name holds a hash of the claim's uid."""
        found = set()
        for kind in SERVED:
            for child in await self.kube.list(kind, self.namespace):
                name = child["metadata"]["name"]
                found.add((kind, "demo-migrate" if name.startswith("demo-migrate-") else name))
        return found

    def close(self) -> None:
        """Leave nothing that operators of other tests would reconcile."""
        self.operator.admin.delete_all("cc")


# The steps of a reconcile that has ended in the middle.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_killed_at_a_write_it_ends_where_an_undisturbed_one_does(
    server: ApiServer, kube: Kube, minimal: dict[str, Any]
) -> None:
    undisturbed = Life(server, kube, minimal)
    await undisturbed.run()
    wanted = await undisturbed.children()
    applied = [write for write in undisturbed.kube.writes if "/chatclusters/" not in write and "/events" not in write]
    assert len(applied) == len(set(applied)) == len(wanted), "each child is written once"
    count = len(undisturbed.kube.writes)
    undisturbed.close()
    tried = 0
    for number in range(1, count + 1, EVERY):
        for moment in ("before", "after"):
            life = Life(server, kube, minimal)
            life.kube.dies_at = (number, moment)
            await life.run()
            assert len(life.kube.writes) >= number, json.dumps(life.kube.writes)
            assert await life.children() == wanted, f"killed {moment} write {number} of {count}"
            life.close()
            tried += 1
    tell(
        f"a bring-up makes {count} writes, {len(applied)} of them children, each once; killed at {tried} moments: same"
    )
