"""Reads a ChatCluster whatever it contains: what cannot be read is reported, and stops nothing else. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.api.parse import parse
from chatoperator.errors import SpecError, UnreadableError
from chatoperator.kube.decoding import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest

WORDS_MAX = 200
"""Characters of an error of Python's that are passed on; it may repeat the value."""


def read(body: Manifest) -> ChatCluster:
    """The parsed spec of a ChatCluster as the cache has it.

    Raises:
        SpecError: It cannot work, or cannot be read; the error names the field and the remedy.
    """
    check_readable([body])
    try:
        return parse(body)
    except SpecError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # The API server checks objects when they are written, and one may be older than its schema.
        words = f"{type(error).__name__}: {error}"[:WORDS_MAX]
        raise UnreadableError(
            f"spec cannot be read ({words})",
            "a value has another type than the CRD allows; apply the whole object again",
        ) from error


def check_readable(found: Iterable[Manifest]) -> None:
    """Check that the cache has objects as they are, and not excerpts of them.

    Raises:
        UnreadableError: One is an excerpt.
    """
    for raw in found:
        if UNREADABLE in raw:
            where = f"{raw.get('kind')} {raw['metadata']['name']}"
            raise UnreadableError(
                f"{where}: {raw[UNREADABLE]}, more than the operator can process", "make it smaller or remove it"
            )


def is_readable(raw: Manifest) -> bool:
    """Whether an object is no excerpt."""
    return UNREADABLE not in raw
