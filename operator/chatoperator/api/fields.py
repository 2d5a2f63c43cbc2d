"""Reads one field of a spec, with an error that names it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, cast

from chatoperator.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping


def mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at `key`; an absent one is empty."""
    return cast("Mapping[str, Any]", raw.get(key) or {})


def without_nulls(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same object with its null fields absent, at any depth: server-side apply stores what a file leaves empty."""
    return {name: _without_nulls(value) for name, value in raw.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return without_nulls(value)
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value


def choice(raw: Mapping[str, Any], key: str, choices: tuple[str, ...], path: str) -> str:
    """Return the value at `key`; the first choice is the default.

    Args:
        raw: The object that has the field.
        key: The field's name in it.
        choices: What the field may say.
        path: The field below `spec`, for the error.

    Raises:
        SpecError: The value is none of the choices.
    """
    value = raw.get(key, choices[0])
    if value not in choices:
        raise SpecError(path, f"{value!r} is not one of {', '.join(choices)}")
    return str(value)


def integer(raw: Mapping[str, Any], key: str, default: int, path: str, minimum: int) -> int:
    """Return the whole number at `key`, or the default; arguments as of `choice`.

    Raises:
        SpecError: The value is no whole number, or below the minimum.
    """
    value = raw.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise SpecError(path, f"it must be a whole number of at least {minimum}, not {value!r}")
    return value


def networks(raw: Mapping[str, Any], key: str, path: str) -> tuple[str, ...]:
    """Return the networks listed at `key`, as they are written; `path` is of the object.

    Raises:
        SpecError: One is neither an address nor a network.
    """
    listed = tuple(str(network) for network in raw.get(key) or ())
    for network in listed:
        check_network(network, f"{path}.{key}")
    return listed


def check_network(text: str, path: str) -> None:
    """Check an address or a network in CIDR notation.

    Raises:
        SpecError: It is neither.
    """
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise SpecError(path, f"{text!r} is neither an address nor a network such as 10.0.0.0/8") from None


def optional(raw: Mapping[str, Any], key: str, path: str) -> int | None:
    """Return the whole number at `key`, at least 1; None for an absent one. `path` is of the object.

    Raises:
        SpecError: The value is no whole number, or below 1.
    """
    return None if raw.get(key) is None else integer(raw, key, 1, f"{path}.{key}", 1)
