"""Liveness and readiness: ``/livez``, ``/readyz``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from chatserver.errors import ServiceUnavailable, ValidationFailed
from chatserver.http.parsing import Query, answer

if TYPE_CHECKING:
    from sanic.response import HTTPResponse

    from chatserver.http.context import App, Request


EXCLUDED = ("database", "draining")


class HealthAnswer(TypedDict):
    """The server is well."""

    status: Literal["ok"]


class ReadyAnswer(TypedDict):
    """The server serves; whether it can store anything is in `writes`."""

    status: Literal["ok"]
    writes: Literal["ok", "volume_full"]


async def livez(_request: Request) -> HTTPResponse:
    """Answer while the event loop turns."""
    return answer(HealthAnswer(status="ok"))


async def readyz(request: Request) -> HTTPResponse:
    """Answer 200 when requests can be served; with ``exclude=database``, whatever the database does.

    With ``exclude=draining`` a server that has begun to leave says so only when it no longer answers everybody: whoever
    was sent here by a proxy that has not noticed yet is served, too.

    A full volume is no reason to turn away who only reads: it is told in the body.
    """
    excluded = Query(request, ("exclude",)).text("exclude")
    if excluded not in {None, *EXCLUDED}:
        raise ValidationFailed.of("exclude", f"must be {' or '.join(EXCLUDED)}")
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
        "The server is draining." if health.draining else "The server is starting, or its database is away."
    )


def add_routes(app: App) -> None:
    """Route this file's calls."""
    app.add_route(livez, "/livez", {"GET", "HEAD"}, name="livez")
    app.add_route(readyz, "/readyz", {"GET", "HEAD"}, name="readyz")
