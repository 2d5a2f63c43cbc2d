"""Query parameters: each is declared once, with what the documents say of it and how it is read."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from chatserver.bounds import MAX_NUMBER
from chatserver.errors import ValidationFailed
from chatserver.http.call import call_of

if TYPE_CHECKING:
    from chatserver.http.call import Schema
    from chatserver.http.context import App, Request

T = TypeVar("T")


@dataclass(frozen=True)
class Parameter(Generic[T]):
    """A query parameter; all are optional, and an empty one counts as missing."""

    name: str
    description: str

    @property
    def schema(self) -> Schema:
        """The JSON schema of its value."""
        raise NotImplementedError

    def read(self, raw: str | None) -> T:
        """Return its value.

        Args:
            raw: the text of the query; None when the parameter is missing.

        Raises:
            ValidationFailed: the text is not such a value.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class TextParameter(Parameter[str | None]):
    """A text, of which only the documents state the bounds: what reads it checks them."""

    kind: Any = str

    @property
    def schema(self) -> Schema:
        """As declared by the type."""
        return msgspec.json.schema(self.kind)

    def read(self, raw: str | None) -> str | None:
        """Return the text, or None."""
        return raw


@dataclass(frozen=True)
class OptionalNumberParameter(Parameter[int | None]):
    """A whole number within bounds, or None."""

    _: KW_ONLY
    least: int = 0
    most: int = MAX_NUMBER

    @property
    def schema(self) -> Schema:
        """With both bounds."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def read(self, raw: str | None) -> int | None:
        """Return the number, or None."""
        if raw is None:
            return None
        # Up to 19 digits are what fits into the database; int() would take other scripts' digits and underscores.
        value = int(raw) if re.fullmatch(r"[0-9]{1,19}", raw) else -1
        if not self.least <= value <= self.most:
            raise ValidationFailed.of(self.name, f"must be a whole number from {self.least} to {self.most}")
        return value


@dataclass(frozen=True)
class NumberParameter(Parameter[int]):
    """A whole number within bounds, with a default."""

    _: KW_ONLY
    least: int
    most: int
    default: int

    @property
    def schema(self) -> Schema:
        """With both bounds and the default."""
        return {**self._given.schema, "default": self.default}

    def read(self, raw: str | None) -> int:
        """Return the number."""
        found = self._given.read(raw)
        return self.default if found is None else found

    @property
    def _given(self) -> OptionalNumberParameter:
        return OptionalNumberParameter(self.name, self.description, least=self.least, most=self.most)


@dataclass(frozen=True)
class FlagParameter(Parameter[bool]):
    """True or false; false when it is missing."""

    @property
    def schema(self) -> Schema:
        """With the default."""
        return {"type": "boolean", "default": False}

    def read(self, raw: str | None) -> bool:
        """Return whether the text says true."""
        if raw not in {None, "true", "false", "1", "0"}:
            raise ValidationFailed.of(self.name, "must be true or false")
        return raw in {"true", "1"}


@dataclass(frozen=True)
class ChoiceParameter(Parameter[str | None]):
    """One of some values."""

    values: tuple[str, ...]
    default: str | None = None

    @property
    def schema(self) -> Schema:
        """The values, with the default."""
        schema: Schema = {"type": "string", "enum": list(self.values)}
        return schema if self.default is None else {**schema, "default": self.default}

    def read(self, raw: str | None) -> str | None:
        """Return the value."""
        if raw is not None and raw not in self.values:
            raise ValidationFailed.of(self.name, f"must be {' or '.join(self.values)}")
        return self.default if raw is None else raw


class Query:
    """The query of a request, read by the parameters that its call declares.

    Raises:
        ValidationFailed: a parameter is unknown or given twice.
    """

    def __init__(self, request: Request) -> None:
        call = call_of(request)
        declared = [] if call is None else [parameter.name for parameter in call.query]
        self._values: dict[str, str | None] = dict.fromkeys(declared)
        given = set()
        for name, value in request.get_query_args(keep_blank_values=True):
            if name not in self._values:
                known = ", ".join(sorted(declared)) or "none"
                raise ValidationFailed.of(name[:100] or "query", f"unknown parameter; this call takes {known}")
            if name in given:
                raise ValidationFailed.of(name, "given more than once")
            given.add(name)
            self._values[name] = value or None

    def __getitem__(self, parameter: Parameter[T]) -> T:
        """Return the value of a parameter.

        Raises:
            ValidationFailed: the parameter has no such value.
            KeyError: the call does not declare it.
        """
        return parameter.read(self._values[parameter.name])


def _refuse_unknown(request: Request) -> None:
    # Nearly all requests have no query, and are not looked up.
    call = call_of(request) if request.query_string else None
    # Calls with parameters read them when they know who calls.
    if call is not None and call.path.startswith("/api/") and not call.query:
        Query(request)


def add_middleware(app: App) -> None:
    """Reject parameters of calls that have none, before their handlers run."""
    app.register_middleware(_refuse_unknown, "request")
