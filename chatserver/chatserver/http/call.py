"""API calls, each declared once, beside its handler: the router and the published documents are made from it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from chatserver.http.sanic_server import leaves_answer_to_handler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sanic.response import HTTPResponse

    from chatserver.errors import ChatError
    from chatserver.http.context import App, Request
    from chatserver.http.parsing import Body
    from chatserver.http.query import Parameter

Schema = dict[str, Any]
Handler = Callable[..., Coroutine[Any, Any, "HTTPResponse | None"]]

P = ParamSpec("P")
H = TypeVar("H", bound=Handler)


# Sanic hashes what a route carries: by identity, since schemas are dictionaries.
@dataclass(frozen=True, eq=False)
class Call:
    """One method of one path.

    Attributes:
        handler: answers the call; its name and the first line of its docstring are published.
        route: method and path, such as ``GET /api/chats/{chat_id}``.
        status: of the successful answer.
        repeated: status of the same answer to a call that was made before.
        answer: type or schema of the successful answer's body; None when it has none.
        media: media type of that body.
        body: type of the request's JSON.
        texts: types of those path parameters that are not ids.
        query: query parameters; all calls below /api reject unknown ones.
        errors: what the call can raise beyond the errors that all calls of its kind share.
        headers: headers of the successful answer beyond those of all answers, with a description each.
        signed_in: whether the call needs a token.
        database: whether the call needs the database, and so can answer 503.
    """

    handler: Handler
    route: str
    _: KW_ONLY
    status: int = 200
    repeated: int | None = None
    answer: Any = None
    media: str = "application/json"
    body: type[Body] | None = None
    texts: Mapping[str, Any] = field(default_factory=dict)
    query: tuple[Parameter[Any], ...] = ()
    errors: tuple[type[ChatError], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    signed_in: bool = True
    database: bool = True

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        """The path, with its parameters in braces."""
        return self.route.partition(" ")[2]

    @property
    def operation(self) -> str:
        """The published unique name, after which generated clients name their function: ``listChats``."""
        first, *others = self.handler.__name__.split("_")
        return first + "".join(word.capitalize() for word in others)

    @property
    def summary(self) -> str:
        """The published sentence about the call."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]


def _adding(make: Callable[Concatenate[Handler, P], Call]) -> Callable[Concatenate[Calls, P], Callable[[H], H]]:
    """Return a method that takes the arguments of a Call except its handler, which it decorates."""

    def add(calls: Calls, /, *args: P.args, **kwargs: P.kwargs) -> Callable[[H], H]:
        def declare(handler: H) -> H:
            calls.append(make(handler, *args, **kwargs))
            return handler

        return declare

    return add


class Calls:
    """The calls of one file, in the order in which the documents list them.

    Example:
        >>> calls = Calls()
        >>> @calls.add("GET /api/blocks")
        ... async def list_blocks(request):
        ...     '''List whom the caller has blocked.'''
        >>> [(call.path, call.operation, call.summary) for call in calls]
        [('/api/blocks', 'listBlocks', 'List whom the caller has blocked.')]
    """

    add = _adding(Call)

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def append(self, call: Call) -> None:
        """Add a call."""
        self._calls.append(call)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)


def add_routes(app: App, calls: Iterable[Call]) -> None:
    """Route calls; the request's route carries its call, for `call_of`."""
    for call in calls:
        path = re.sub(r"\{(\w+)\}", r"<\1:str>", call.path)
        if call.status == HTTPStatus.SWITCHING_PROTOCOLS:
            leaves_answer_to_handler(call.handler)
        app.add_route(call.handler, path, {call.method}, name=call.operation, unquote=bool(call.texts), ctx_call=call)


def call_of(request: Request) -> Call | None:
    """Return the call that a request makes; None for the web page's files and for unknown paths."""
    found: Call | None = getattr(request.route.ctx, "call", None) if request.route is not None else None
    return found
