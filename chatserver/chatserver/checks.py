"""Checks of texts, URLs, emoji and ids; their errors name the field. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from chatserver import bounds, emojis, surrogates
from chatserver.errors import ValidationFailed

NO_MESSAGE: Final = "must be the seq of a message in this chat"
"""The error for an invalid reply_to."""


def check_text(text: str, path: str, *, max_chars: int = bounds.TEXT_MAX_CHARS) -> str:
    """Return the text, after checking that PostgreSQL can store it and that it is not too long.

    Raises:
        ValidationFailed: it has a NUL or half a surrogate pair, or is too long.
    """
    if len(text) > max_chars:
        raise ValidationFailed.of(path, f"must have at most {max_chars} characters, this has {len(text)}")
    if "\x00" in text:
        raise ValidationFailed.of(path, "must not contain the character U+0000")
    if not surrogates.is_utf8(text):
        raise ValidationFailed.of(path, surrogates.MESSAGE)
    return text


def check_url(text: str, path: str) -> str:
    """Return the text, after checking that it is an http or https URL.

    Raises:
        ValidationFailed: it is not a URL; `path` names the field.
    """
    check_text(text, path, max_chars=bounds.URL_MAX_CHARS)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or any(character.isspace() or not character.isprintable() for character in text):
        raise ValidationFailed.of(path, "must be an absolute http or https URL")
    return text


def check_emoji(text: str, path: str) -> str:
    """Return the emoji as it is stored: spelled as in Unicode's list, with whatever variation selectors it came.

    Raises:
        ValidationFailed: it is not exactly one emoji; `path` names the field.
    """
    emoji = emojis.find(text)
    if emoji is None:
        raise ValidationFailed.of(path, "must be exactly one emoji, percent-encoded in UTF-8, such as %F0%9F%91%8D")
    return emoji


def check_client_id(text: str) -> str:
    """Return a client's UUID in lower case.

    Raises:
        ValidationFailed: it is not a UUID.
    """
    if not bounds.UUID.fullmatch(text):
        raise ValidationFailed.of("client_id", "must be a UUID, such as 3f2b8c1e-8d5a-4a7e-9c55-0f6f2f6f1c11")
    return text.lower()


def is_id(number: int) -> bool:
    """Return whether something can have this id or seq: whether it is positive and at most MAX_ID.

    Example:
        >>> [is_id(number) for number in (0, 1, 2**53 - 1, 2**53)]
        [False, True, True, False]
    """
    return 0 < number <= bounds.MAX_ID


def check_limit(limit: int, most: int) -> int:
    """Return a page's limit.

    Raises:
        ValidationFailed: it is not from 1 to `most`.
    """
    if not 1 <= limit <= most:
        raise ValidationFailed.of("limit", f"must be from 1 to {most}")
    return limit
