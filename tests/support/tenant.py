"""Somebody who stores many objects in one namespace, faster than kubectl."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx

from chatoperator.kube.kinds import path_of
from tests.support.apiserver import ADMIN_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.apiserver import ApiServer

PATIENCE_SECONDS = 60

AT_A_TIME = 6


class Tenant:
    """Stores objects in one namespace, some at a time."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._namespace = namespace
        self._turn = asyncio.Semaphore(AT_A_TIME)
        self._client = httpx.AsyncClient(
            base_url=server.url,
            verify=False,  # noqa: S501 - the API server's certificate is its own
            timeout=PATIENCE_SECONDS,
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        )

    async def create(self, made: dict[str, Any]) -> httpx.Response:
        """What the API server says to a new object."""
        async with self._turn:
            return await self._client.post(
                path_of(made["kind"], self._namespace),
                content=json.dumps(made),
                headers={"Content-Type": "application/json"},
            )

    async def store(self, objects: Iterable[dict[str, Any]]) -> None:
        """Create objects that the API server accepts."""
        for answer in await asyncio.gather(*map(self.create, objects)):
            assert answer.status_code == httpx.codes.CREATED, answer.text[:300]

    async def remove(self, kind: str, selector: str) -> None:
        """Delete those with a label."""
        path = path_of(kind, self._namespace)
        assert (await self._client.delete(path, params={"labelSelector": selector})).is_success

    async def close(self) -> None:
        """Ask nothing any more."""
        await self._client.aclose()
