"""What is said of a REST call: one row of the table of all of them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatserver.errors import ChatError
    from chatserver.http.parsing import Body

Schema = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter of the query; all are optional."""

    name: str
    schema: Schema
    description: str


@dataclass(frozen=True)
class Call:
    """One method of one address.

    Attributes:
        route: the two, such as ``GET /api/chats/{chat_id}``.
        operation: unique name, from which clients' generators make a function's.
        summary: one sentence.
        status: of the good answer.
        repeated: status of the same answer to a call that was made before.
        answer: type or schema of the good answer's body; None when it has none.
        media: of the good answer's body.
        body: type of the request's JSON.
        texts: types of those parameters of the path that are no ids.
        query: parameters of the query; an unknown one is refused by all calls below /api.
        errors: what can go wrong beyond what every such call shares.
        headers: headers of the good answer beyond those of all answers, by name, with a description.
        signed_in: whether it needs a token.
        database: whether it needs the database, and so can be 503.
    """

    route: str
    operation: str
    summary: str
    _: KW_ONLY
    status: int = 200
    repeated: int | None = None
    answer: Any = None
    media: str = "application/json"
    body: type[Body] | None = None
    texts: Mapping[str, Any] = field(default_factory=dict)
    query: tuple[Parameter, ...] = ()
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
        """The address, its parameters in braces."""
        return self.route.partition(" ")[2]
