"""Devices of web pages in tests, whose token is in a cookie that httpx does not send to plain HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from tests.support.devices import Device
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from tests.support.server import ServerProcess

ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


class Cookie:
    """A device that is signed in by a cookie.

    Attributes:
        line: the header that set it.
        name: of the cookie.
        token: its value.
        device: the same, for what takes tokens.
    """

    def __init__(self, answer: httpx.Response, phone_number: str) -> None:
        (self.line,) = answer.headers.get_list("Set-Cookie")
        self.name, _, rest = self.line.partition("=")
        self.token = rest.partition(";")[0]
        self.device = Device({**answer.json(), "token": self.token}, phone_number, phone_number)

    @property
    def pair(self) -> str:
        """What a browser sends."""
        return f"{self.name}={self.token}"

    @property
    def cleared(self) -> str:
        """The header that removes it."""
        return f"{self.name}=; Max-Age=0; {ATTRIBUTES}"

    def http(self, server: ServerProcess, **headers: str) -> httpx.AsyncClient:
        """Return a client that sends the cookie as the server's own page does."""
        sent = {"Cookie": self.pair, **OWN_PAGE, **headers}
        return httpx.AsyncClient(base_url=server.url, headers=sent, timeout=90, verify=NO_TLS, trust_env=False)


async def request_session(http: httpx.AsyncClient, number: str, **headers: str) -> httpx.Response:
    """Request a session with a cookie, of a new user or a known one."""
    made = await http.post("/api/auth/code", json={"phone_number": number})
    assert made.status_code == httpx.codes.ACCEPTED, made.text
    body: dict[str, Any] = {"phone_number": number, "code": made.json()["dev_code"], "cookie": True}
    return await http.post("/api/auth/session", json=body, headers=headers)


async def sign_in_with_cookie(http: httpx.AsyncClient, number: str) -> Cookie:
    """Sign a user in as a page does."""
    return Cookie(await request_session(http, number, **OWN_PAGE), number)
