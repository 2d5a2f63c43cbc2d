"""JSON from the API server as objects, so that one object, however deep or wide, keeps no other from being read. Pure.

A ChatCluster that was stored before its CRD had bounds may be thousands of levels deep, or hold a million values.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from chatoperator.metadata import COMPONENT_LABEL, INSTANCE_LABEL, MANAGED_BY_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.metadata import Manifest

DEPTH_MAX = 64
"""Levels of one object; a pod spec has 14. Python's own limit is a thousand calls, of which each use adds some."""

VALUES_MAX = 20_000
"""In one object: as objects of Python that is 2 MB. The largest ChatCluster that makes sense has a tenth of it."""

BYTES_MAX = 1024 * 1024
"""Of one object as JSON, without managedFields. Each object takes this at most from the operator's memory."""

UNREADABLE = "unreadable"
"""Field of an excerpt that says why it is one; no kind has it."""

IDENTITY = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
    }
)
"""Fields of metadata that an excerpt keeps, beside what of labels and owners keeps these bounds."""

EXCERPT_LABELS = (INSTANCE_LABEL, COMPONENT_LABEL, MANAGED_BY_LABEL)

OWNERS_BYTES_MAX, STATUS_BYTES_MAX = 4 * 1024, 32 * 1024
"""Of an excerpt. Without its owners an object is somebody else's, and is not written to."""

_LEFT_OUT = "(left out by the operator: nested too deeply)"

_CULPRIT_NAMES = 4
"""Names of fields in the path to what is too large: spec.chatserver.podTemplate.affinity."""

_CULPRIT_SHARE = 0.5

_SAMPLE, _VALUE_BYTES, _TOO_DEEP = 1_000, 4, 1 << 40
"""Values that are looked at on each level; what one weighs beside what is in it; what weighs more than any object."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')
_INNERMOST = re.compile(rb"\[\]|\{\}")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPEN, _CLOSE = b"[{", b"]}"


def decode(text: bytes) -> Any:
    """Read JSON; what is nested more than twice DEPTH_MAX deep in it may be left out.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(_cut(text, 2 * DEPTH_MAX))


def encode(raw: Manifest) -> bytes:
    """An object as JSON, or an excerpt of it where it is out of bounds.

    Args:
        raw: The object, as `decode` gave it; without managedFields.
    """
    try:
        text = _dumps(raw)
        why = _out_of_bounds(text)
    except RecursionError:
        # Python's later releases read deeper than they write.
        why = f"is nested more than {DEPTH_MAX} levels deep"
    return text if why is None else _dumps(excerpt(raw, why))


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _out_of_bounds(text: bytes) -> str | None:
    """Which bound an object does not keep; None for those that keep all."""
    if len(text) > BYTES_MAX:
        return f"is larger than {BYTES_MAX // 1024} KiB"
    if _LEFT_OUT.encode() in text:
        return f"is nested more than {DEPTH_MAX} levels deep"
    opened = text.count(b"{") + text.count(b"[")
    if opened <= DEPTH_MAX and opened + text.count(b",") <= VALUES_MAX:
        return None
    bare = _STRING.sub(b"", text)
    if bare.count(b"{") + bare.count(b"[") + bare.count(b",") > VALUES_MAX:
        return f"holds more than {VALUES_MAX} values"
    if _is_deeper(bare.translate(None, _NO_BRACKETS), DEPTH_MAX):
        return f"is nested more than {DEPTH_MAX} levels deep"
    return None


def _is_deeper(brackets: bytes, levels: int) -> bool:
    """Whether brackets nest more levels deep: each round takes the innermost ones."""
    for _ in range(levels):
        if not brackets:
            return False
        brackets = _INNERMOST.sub(b"", brackets)
    return bool(brackets)


def _cut(text: bytes, levels: int) -> bytes:
    """The same JSON with a string in place of whatever is nested deeper.

    Raises:
        ValueError: It is no JSON.
    """
    kept: list[bytes] = []
    depth, done, begun = 0, 0, 0
    for found in _TOKEN.finditer(text):
        bracket = text[found.start()]
        if bracket in _OPEN:
            depth += 1
            if depth == levels + 1:
                begun = found.start()
        elif bracket in _CLOSE:
            if depth == levels + 1:
                kept += [text[done:begun], json.dumps(_LEFT_OUT).encode()]
                done = found.end()
            depth -= 1
    if depth:
        raise ValueError("it is incomplete, or has unbalanced brackets")
    return b"".join([*kept, text[done:]])


def excerpt(raw: Manifest, why: str) -> Manifest:
    """The part of an object that identifies it and its owner, and its status where that is small.

    Args:
        raw: The object, as `decode` gave it.
        why: What its largest field causes; it follows the field's path in a message.
    """
    metadata = {name: value for name, value in raw["metadata"].items() if name in IDENTITY}
    labels = raw["metadata"].get("labels") or {}
    if shown := {name: labels[name] for name in EXCERPT_LABELS if name in labels}:
        metadata["labels"] = shown
    owners = raw["metadata"].get("ownerReferences")
    if owners and _is_within(owners, OWNERS_BYTES_MAX):
        metadata["ownerReferences"] = owners
    made: dict[str, Any] = {name: raw[name] for name in ("apiVersion", "kind") if name in raw}
    made |= {"metadata": metadata, UNREADABLE: f"{_culprit(raw)} {why}"}
    status = raw.get("status")
    if status is not None and _is_within(status, STATUS_BYTES_MAX):
        made["status"] = status
    return made


def is_whole(raw: Manifest) -> bool:
    """Whether an object is no excerpt."""
    return UNREADABLE not in raw


def _is_within(value: Any, bytes_max: int) -> bool:
    """Whether a part of an object may be in an excerpt."""
    if _weigh(value) >= _TOO_DEEP:
        return False
    text = _dumps(value)
    return len(text) <= bytes_max and _out_of_bounds(text) is None


def _culprit(raw: Mapping[str, Any]) -> str:
    """Path of the field that most of an object is in: the outermost one that a remedy can be about."""
    path: list[str] = []
    at: Any = {name: value for name, value in raw.items() if name not in {"apiVersion", "kind"}}
    whole = _weigh(at)
    while isinstance(at, dict) and at and len(path) < _CULPRIT_NAMES:
        name, weight = max(((name, _weigh(value)) for name, value in at.items()), key=lambda pair: pair[1])
        if weight < whole * _CULPRIT_SHARE:
            break
        path.append(name)
        at = at[name]
    return ".".join(path) or "it"


def _weigh(value: Any) -> int:
    """About how large a value is, without looking at all of it; one that is too deep outweighs all others."""
    weight, part = 0, [value]
    for _ in range(DEPTH_MAX):
        inner: list[Any] = []
        for one in part:
            if isinstance(one, str):
                weight += _TOO_DEEP if one == _LEFT_OUT else len(one)
            elif isinstance(one, (dict, list)):
                weight += _VALUE_BYTES * len(one)
                inner += itertools.islice(one.values() if isinstance(one, dict) else one, _SAMPLE)
        if not inner:
            return weight
        part = inner[:_SAMPLE]
    return weight + _TOO_DEEP
