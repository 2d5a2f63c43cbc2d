"""An API server's lists and watches as a test scripts them, in place of `chatoperator.kube.client.Kube`."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chatoperator.errors import KubeError

Items = list[dict[str, Any]]
News = tuple[str, dict[str, Any]]


class ScriptedApi:
    """Answers each list and watch of a kind with the next one of its script.

    A kind whose lists are all given has none of it, at resourceVersion 1; one whose watches are all given is silent.

    Attributes:
        asked: What it was asked: ("list", kind, namespace), ("watch", kind, version) and ("get", kind, name).
        silent: By kind, set once its script of watches is at its end.
        objects: By (kind, name), what a request for one object finds.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.silent: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._lists: dict[str, deque[list[Items | KubeError | None]]] = defaultdict(deque)
        self._versions: dict[str, deque[int]] = defaultdict(deque)
        self._watches: dict[str, deque[list[News | KubeError]]] = defaultdict(deque)

    def will_list(self, kind: str, version: int, *pages: Items | KubeError) -> None:
        """Answer the next list of a kind with pages, as of a version; an error breaks it off."""
        self._lists[kind].append([*pages])
        self._versions[kind].append(version)

    def will_watch(self, kind: str, *news: News | KubeError) -> None:
        """Answer the next watch of a kind with news and its end; an error breaks it off."""
        self._watches[kind].append([*news])

    def count(self, verb: str, kind: str) -> int:
        """How often it was asked so."""
        return sum(asked[:2] == (verb, kind) for asked in self.asked)

    async def pages(self, kind: str, namespace: str | None, _selector: str | None) -> AsyncIterator[tuple[Items, str]]:
        """As of `Kube.pages`."""
        self.asked.append(("list", kind, namespace))
        pages = self._lists[kind].popleft() if self._lists[kind] else [[]]
        version = self._versions[kind].popleft() if self._versions[kind] else 1
        for page in pages:
            await asyncio.sleep(0)
            if not isinstance(page, list):
                assert page is not None
                raise page
            yield page, str(version)

    async def watch(
        self, kind: str, _namespace: str | None, _selector: str | None, resource_version: str
    ) -> AsyncIterator[News]:
        """As of `Kube.watch`."""
        self.asked.append(("watch", kind, resource_version))
        if not self._watches[kind]:
            self.silent[kind].set()
            await asyncio.Event().wait()
        for news in self._watches[kind].popleft():
            await asyncio.sleep(0)
            if not isinstance(news, tuple):
                raise news
            yield news

    async def get(self, kind: str, _namespace: str, name: str) -> dict[str, Any] | None:
        """As of `Kube.get`."""
        self.asked.append(("get", kind, name))
        return self.objects.get((kind, name))
