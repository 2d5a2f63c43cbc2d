"""How requests reach the Kubernetes API and errors come back: with `lease.py` the only importer of `kubernetes`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, cast

import aiohttp
from kubernetes.aio import client, config

from chatoperator import metrics
from chatoperator.errors import KubeError
from chatoperator.kube.bodies import (
    ANSWER_BYTES_MAX,
    ERROR_BYTES_MAX,
    LineTooLongError,
    read_at_most,
    reason,
    retry_after,
)
from chatoperator.kube.decoding import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from chatoperator.metadata import Manifest

REQUEST_TIMEOUT_SECONDS = 30
"""An API server that takes longer is as good as gone; the reconcile is tried again."""

CONNECT_TIMEOUT_SECONDS = 10
"""To an API server whose address answers nothing at all."""

REQUESTS_AT_A_TIME = 16
"""More would only queue in the API server, which gives its other clients fair shares; first come, first served."""

TRIES = 4
"""A request that the API server rejects with 429 is sent again after the time that it requires, but not for ever."""

GONE, TOO_MANY = 410, 429


class Transport:
    """Sends requests, so many at a time, each with a time limit.

    Args:
        api: Knows the address and how to prove who this is.
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._turn = asyncio.Semaphore(REQUESTS_AT_A_TIME)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None] | None = None,
        *,
        body: Manifest | str | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        text = await self._read(method, path, query or {}, body=body, content_type=content_type)
        if text is None:
            raise KubeError(f"{method} {path}: the answer has more than {ANSWER_BYTES_MAX} bytes", path=path)
        return decoded(method, path, text)

    async def _read(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None],
        *,
        body: Manifest | str | None = None,
        content_type: str = "application/json",
        bytes_max: int = ANSWER_BYTES_MAX,
    ) -> bytes | None:
        """The whole answer; None where it is larger than `bytes_max`."""
        async with self._turn:
            with translated(method, path):
                response = await self._send(
                    method, path, query, seconds=REQUEST_TIMEOUT_SECONDS, body=body, content_type=content_type
                )
                async with response:
                    return await read_at_most(response, bytes_max)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None],
        *,
        seconds: float,
        body: Manifest | str | None = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        """An answer whose body is still to be read. A request that was rejected for now is sent again."""
        for last in (False,) * (TRIES - 1) + (True,):
            # Without the body, which the client would copy value by value.
            verb, url, headers, _, _ = await self._api.param_serialize(
                method,
                path,
                query_params=[(name, value) for name, value in query.items() if value is not None],
                header_params={"Accept": "application/json", "Content-Type": content_type},
                auth_settings=["BearerToken"],
            )
            answer = await self._api.call_api(
                verb,
                url,
                headers,
                body,
                _request_timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT_SECONDS),
            )
            response = cast("aiohttp.ClientResponse", answer.response)
            metrics.REQUESTS.labels(method=method, status=str(response.status)).inc()
            if response.ok:
                return response
            async with response:
                text = await read_at_most(response, ERROR_BYTES_MAX) or b""
            if response.status != TOO_MANY or last:
                message = reason(response, text)
                raise KubeError(f"{method} {path}: {message}", status=response.status, path=path, reason=message)
            await asyncio.sleep(retry_after(response))
        raise AssertionError("the last try returns or raises")


def decoded(method: str, path: str, text: bytes) -> Manifest:
    """An answer as an object.

    Raises:
        KubeError: It is none.
    """
    with translated(method, path):
        return cast("Manifest", decode(text))


@contextlib.contextmanager
def translated(method: str, path: str) -> Iterator[None]:
    """Make a KubeError of whatever the client raises inside."""
    try:
        yield
    except LineTooLongError as error:
        raise KubeError(f"{method} {path}: {error}", status=GONE) from error
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        message = f"{type(error).__name__}: {error}"
        raise KubeError(f"{method} {path}: {message}", path=path, reason=message) from error


@contextlib.asynccontextmanager
async def client_of(kubeconfig: str | None) -> AsyncIterator[client.ApiClient]:
    """A client by the service account inside a cluster, by a kubeconfig elsewhere.

    Args:
        kubeconfig: Its path; None for kubectl's default one.

    Raises:
        KubeError: Neither is there.
    """
    configuration = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise KubeError(f"cannot find the API server: {error}. Run in a pod, or check the kubeconfig") from error
    # No proxy lies between a pod and its API server; the client would look for one, in a thread, at each request.
    configuration.client_session_kwargs = {"trust_env": False}
    async with client.ApiClient(configuration) as api:
        yield api
