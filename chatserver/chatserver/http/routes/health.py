"""Liveness and readiness: ``/livez``, ``/readyz``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from chatserver.errors import ServiceUnavailable
from chatserver.http.call import Calls
from chatserver.http.parsing import answer
from chatserver.http.query import ChoiceParameter, Query

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

    from chatserver.http.context import Request

CALLS = Calls()

_EXCLUDE = ChoiceParameter(
    "exclude",
    "`database`: ignore the state of the database. `draining`: stay ready while the proxies have not noticed the drain "
    "of the server yet.",
    ("database", "draining"),
)


class HealthAnswer(TypedDict):
    """The process runs."""

    status: Literal["ok"]


class ReadyAnswer(TypedDict):
    """The server is ready; `writes` says whether it can store anything."""

    status: Literal["ok"]
    writes: Literal["ok", "volume_full"]


@CALLS.add("GET /livez", answer=HealthAnswer, signed_in=False, database=False)
async def livez(_request: Request) -> HTTPResponse:
    """Answer while the process runs."""
    return answer(HealthAnswer(status="ok"))


@CALLS.add("GET /readyz", query=(_EXCLUDE,), answer=ReadyAnswer, signed_in=False)
async def readyz(request: Request) -> HTTPResponse:
    """Answer 200 when the server and its database can serve; `writes` says whether anything can be stored.

    With ``exclude=draining`` a server that drains is ready until it rejects new clients: proxies that have not noticed
    the drain yet still send some, who are served.

    A full volume is reported in the body only: clients that only read are still served.
    """
    excluded = Query(request)[_EXCLUDE]
    health = request.app.ctx.health
    if excluded == "database":
        ready = health.is_serving()
    elif excluded == "draining":
        ready = await health.is_answering()
    else:
        ready = await health.is_ready()
    if ready:
        return answer(ReadyAnswer(status="ok", writes="volume_full" if health.volume_full else "ok"))
    raise ServiceUnavailable(
        "The server is draining." if health.draining else "The server is starting, or its database is unavailable."
    )
