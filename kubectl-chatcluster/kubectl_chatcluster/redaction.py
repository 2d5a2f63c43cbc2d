"""Takes secrets and phone numbers out of what leaves the cluster in a support bundle. Pure.

What has a name that secrets have goes by its name, what has a form that secrets have by its form; both run over
everything. It is the second line of defence: Secrets are never requested, and the servers log none.
"""

from __future__ import annotations

import json
import re
from typing import Any

REDACTED = "[redacted]"

SENSITIVE = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|pgpassword|token|ticket|secret|secret[-_]?key|private[-_]?key|api[-_]?key"
    r"|access[-_]?key|tls\.key|ca\.key|authorization|cookie|credentials?|dsn|otp|dev_code|signature|phone(?:[-_]?number)?"
    r"|message_text)"
)
SENSITIVE_NAME = re.compile(rf"(?:^|.*[-_.]){SENSITIVE}$", re.IGNORECASE)
"""The whole name of a field or variable: `CHAT_PASSWORD` is one, `secretName` and `..._SECRET_FILE` are not."""

PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)
USER_INFO = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@?#\"']*):(?P<password>[^\s\"']+)@", re.IGNORECASE
)
"""The password of a URL goes up to the last @: an unquoted one may hold / and @ itself."""

BEARER = re.compile(r"\b(?P<kind>Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")
ASSIGNED = re.compile(
    rf"(?P<name>(?<![A-Za-z0-9])(?:[A-Za-z0-9]+[-_.])*{SENSITIVE}\\?[\"']?\s*[=:]\s*)"
    r"(?P<value>\\\"(?:(?!\\\").)*\\\"|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s\"',;&}\\]+)",
    re.IGNORECASE,
)
"""`password=x`, `password: x`, `"password": "x"`, `?token=x`, also inside a string with escaped quotes."""

ADDRESS = re.compile(
    r"(?P<origin>\bhttps?://[^\s/?#\"'<>\\]+)(?P<path>/[^\s?\"'<>\\]*)?(?P<query>\?[^\s\"'<>\\]*)?", re.IGNORECASE
)
"""A web address: services know their callers by a long word in the path, or by anything in the query."""

LONG_WORD = re.compile(r"[^/]*[A-Za-z0-9]{16,}[^/]*")
VALUE = re.compile(r"=[^&#]+")

WEBHOOK = re.compile(
    r"(?P<name>webhook[-_]?url\\?[\"']?\s*[=:]\s*\\?[\"']?)(?P<origin>https?://[^\s/?#\"',;&}\\]*)[^\s\"',;}\\]*",
    re.IGNORECASE,
)
WEBHOOK_NAME = re.compile(r"(?:^|.*[-_.])webhook[-_]?url$", re.IGNORECASE)
"""Of an address whose every part but the host may be a secret."""

QUERY = re.compile(r"(?P<name>[?&](?:key|sig|code|auth|access)=)[^\s&\"'\\]+", re.IGNORECASE)
"""Names that are harmless elsewhere, but not in a URL."""

PHONE = re.compile(r"(?<![\w.])(?P<plus>\+|%2B)(?P<digits>[1-9](?:[ .()/-]{0,2}\d){6,14})(?!\d)", re.IGNORECASE)
"""E.164, also with separators: + and 7 to 15 digits."""

PHONE_DIGITS_SHOWN = 2
"""At either end, as in the servers' own logs."""


def text(value: str) -> str:
    """Redact text by its form.

    Example:
        >>> text("postgresql://chat:hunter2@demo-postgres:5432/chat called +14155550101")
        'postgresql://chat:[redacted]@demo-postgres:5432/chat called +14*******01'
    """
    made = PEM.sub(REDACTED, value)
    made = USER_INFO.sub(rf"\g<scheme>\g<user>:{REDACTED}@", made)
    made = WEBHOOK.sub(rf"\g<name>\g<origin>/{REDACTED}", made)
    made = ADDRESS.sub(_address, made)
    made = BEARER.sub(rf"\g<kind> {REDACTED}", made)
    made = JWT.sub(REDACTED, made)
    made = QUERY.sub(rf"\g<name>{REDACTED}", made)
    # Before names and values: the value of `phone=+1 415 555 0101` would end at its first space.
    made = PHONE.sub(_masked, made)
    return ASSIGNED.sub(_assigned, made)


def _address(match: re.Match[str]) -> str:
    path = LONG_WORD.sub(REDACTED, match["path"] or "")
    return match["origin"] + path + VALUE.sub(f"={REDACTED}", match["query"] or "")


def _host_alone(address: str) -> str:
    """The address of a webhook without what follows the host."""
    origin = ADDRESS.match(address)
    return f"{origin['origin']}/{REDACTED}" if origin else REDACTED


def _assigned(match: re.Match[str]) -> str:
    value = match["value"]
    for quote in ('\\"', '"', "'"):
        if value.startswith(quote) and len(value) >= 2 * len(quote):
            return f"{match['name']}{quote}{REDACTED}{quote}"
    # A scheme such as `Authorization: Bearer` whose value was redacted already.
    if value.casefold() in {"bearer", "basic", "null", "true", "false"}:
        return match[0]
    return f"{match['name']}{REDACTED}"


def _masked(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match["digits"])
    hidden = "*" * (len(digits) - 2 * PHONE_DIGITS_SHOWN)
    return f"{match['plus']}{digits[:PHONE_DIGITS_SHOWN]}{hidden}{digits[-PHONE_DIGITS_SHOWN:]}"


def value(found: Any) -> Any:
    """Redact anything JSON can hold, by names and forms; a string that is JSON itself is redacted as such."""
    if isinstance(found, dict):
        if found.get("kind") == "Secret":
            found = {**found, **{key: _emptied(found[key]) for key in ("data", "stringData") if key in found}}
        return {text(str(key)): _member(str(key), inner, found) for key, inner in found.items()}
    if isinstance(found, list):
        return [value(inner) for inner in found]
    if isinstance(found, str):
        return _string(found)
    return found


def _member(name: str, inner: Any, parent: dict[str, Any]) -> Any:
    # {"name": "SOME_PASSWORD", "value": "..."}, as in a container's environment.
    variable = str(parent.get("name", "")) if name == "value" else name
    if WEBHOOK_NAME.match(variable) and isinstance(inner, str):
        return _host_alone(inner)
    if name == "webhook" and isinstance(inner, dict) and isinstance(inner.get("url"), str):
        inner = {**inner, "url": _host_alone(inner["url"])}
    named = name == "value" and SENSITIVE_NAME.match(str(parent.get("name", "")))
    if (named or SENSITIVE_NAME.match(name)) and isinstance(inner, str | int | float) and not isinstance(inner, bool):
        return REDACTED
    if SENSITIVE_NAME.match(name) and isinstance(inner, list) and all(isinstance(one, str) for one in inner):
        return [REDACTED for _ in inner]
    return value(inner)


def _emptied(data: Any) -> dict[str, str]:
    return {str(key): REDACTED for key in data or {}}


def _string(found: str) -> str:
    if found.lstrip()[:1] in {"{", "["}:
        try:
            return json.dumps(value(json.loads(found)))
        except ValueError:
            pass
    return text(found)


def lines(page: str) -> str:
    """Redact a log: each line as JSON where it is JSON, and as text."""
    # Whole first: a private key goes over several lines.
    return "".join(_string(line) + "\n" for line in PEM.sub(REDACTED, page).splitlines())
