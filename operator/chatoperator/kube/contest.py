"""Fields that another writer changes again and again: how often they are applied again, and what is reported. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from chatoperator.api import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chatoperator.metadata import Manifest

Reason = Literal["OtherOperator", "OtherWriter", "Overruled"]

UNDONE_FREELY = 3
"""Changes by others that are undone at once: an admin tries something, or a controller starts."""

WAIT_SECONDS = (15, 30, 60, 120, 300, 600)
"""Between two applies of an object whose change was undone more often; the last repeats."""

CALM_SECONDS = 1200
"""An object that stayed as it was applied for so long is no longer contested."""

FIELDS_MAX, WRITERS_MAX, OBJECTS_MAX = 5, 3, 3
"""That a message names."""

WRITERS_FIELD = "writers"
"""Of metadata as the cache keeps it, in place of managedFields; no kind has it."""

NOT_COMPARED = frozenset({"Secret"})
"""Kinds of which the API server stores other fields than are applied: data in place of stringData."""


@dataclass(frozen=True, slots=True)
class Contest:
    """One object that others change.

    Attributes:
        undone: How often the operator has applied it again because of that.
        at: When it last did, in seconds of a monotonic clock.
        fields: What was different then.
        writers: Field managers that wrote it beside the operator; none where they use its own name.
    """

    undone: int
    at: float
    fields: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()

    def until(self) -> float:
        """When the object may be applied again."""
        over = self.undone - UNDONE_FREELY
        return self.at if over < 0 else self.at + WAIT_SECONDS[min(over, len(WAIT_SECONDS) - 1)]


@dataclass(frozen=True)
class Contested:
    """What a condition says of it.

    Attributes:
        reason: One word for programs.
        message: What happened and what to do.
    """

    reason: Reason
    message: str


def undone(held: Contest | None, now: float, fields: Sequence[str], writers: Sequence[str]) -> Contest:
    """One more change by others that the operator has undone."""
    count = held.undone if held is not None and now < held.until() + CALM_SECONDS else 0
    return Contest(count + 1, now, tuple(fields)[:FIELDS_MAX], tuple(writers)[:WRITERS_MAX])


def is_held(contest: Contest | None, now: float) -> bool:
    """Whether an object has to wait before it is applied again."""
    return contest is not None and now < contest.until()


def contested(
    contests: Mapping[tuple[str, str], Contest],
    overruled: Mapping[tuple[str, str], Sequence[str]],
    rival: str | None,
    now: float,
) -> Contested | None:
    """What is to be reported; None where nobody else writes what the operator writes.

    Args:
        contests: By (kind, name).
        overruled: Fields that the API server stored otherwise than they were applied, by (kind, name).
        rival: Another operator that serves the same ChatCluster; None where there is none.
        now: Seconds of a monotonic clock.
    """
    if rival is not None:
        return Contested(
            "OtherOperator",
            f"Another operator, {rival}, also serves this ChatCluster; it stands by and does not write. "
            "Uninstall one of the two releases, or set watchNamespaces of each so that no namespace is in both",
        )
    lasting = {
        key: contest
        for key, contest in contests.items()
        if contest.undone >= UNDONE_FREELY and now < contest.until() + CALM_SECONDS
    }
    if lasting:
        return Contested("OtherWriter", _lasting_words(lasting))
    changed = {key: fields for key, fields in overruled.items() if fields}
    if changed:
        named = "; ".join(f"{kind} {name}: {_listed(fields)}" for (kind, name), fields in _first(changed))
        return Contested(
            "Overruled",
            f"An admission policy or webhook changes what the operator applies ({named}). Exempt objects with "
            "the label app.kubernetes.io/managed-by=chatcluster-operator from it",
        )
    return None


def _lasting_words(lasting: Mapping[tuple[str, str], Contest]) -> str:
    named = []
    for (kind, name), contest in _first(lasting):
        who = (
            _listed(contest.writers)
            or "a program that uses the field manager of the operator, for example another operator"
        )
        named.append(
            f"{kind} {name} ({f'{_listed(contest.fields)}; changed by {who}' if contest.fields else 'deleted'})"
        )
    most = max(contest.until() - contest.at for contest in lasting.values())
    return (
        f"Another program reverts what the operator applies: {'; '.join(named)}. The operator applies it again at most "
        f"every {most:.0f} s. Stop the other program from changing these fields, or set them in the ChatCluster"
    )


def _first(named: Mapping[tuple[str, str], Any]) -> list[tuple[tuple[str, str], Any]]:
    return sorted(named.items())[:OBJECTS_MAX]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def writers(live: Manifest | None, own: str) -> tuple[str, ...]:
    """Field managers of an object beside the operator's own, the latest first.

    Args:
        live: The object, with its managedFields.
        own: The operator's.
    """
    entries = ((live or {}).get("metadata") or {}).get("managedFields") or []
    theirs = [entry for entry in entries if entry.get("manager") != own and not entry.get("subresource")]
    newest = sorted(theirs, key=lambda entry: str(entry.get("time") or ""), reverse=True)
    return tuple(dict.fromkeys(str(entry.get("manager")) for entry in newest))[:WRITERS_MAX]


def differing(manifest: Manifest, before: Manifest | None, after: Manifest) -> tuple[str, ...]:
    """Paths of a manifest's fields that two states of its object have different; of a Secret its keys, too."""
    if before is None:
        return ()
    return tuple(_differing(_compared(manifest), before, after, ""))


def _differing(part: Mapping[str, Any], before: Any, after: Any, path: str) -> Iterator[str]:
    for name, value in part.items():
        old, new = (side.get(name) if isinstance(side, dict) else None for side in (before, after))
        if old == new:
            continue
        if value and isinstance(value, dict) and (isinstance(old, dict) or isinstance(new, dict)):
            yield from _differing(value, old, new, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def overruled(manifest: Manifest, stored: Manifest) -> tuple[str, ...]:
    """Paths of fields that the API server stored with other values than the manifest has."""
    if manifest["kind"] in NOT_COMPARED:
        return ()
    return tuple(_overruled(_compared(manifest), stored, ""))[:FIELDS_MAX]


def _overruled(desired: Any, stored: Any, path: str) -> Iterator[str]:
    if isinstance(desired, dict):
        for name, value in desired.items():
            yield from _overruled(value, stored.get(name) if isinstance(stored, dict) else None, f"{path}.{name}")
    elif isinstance(desired, list):
        # A longer one may have been added to, such as by a sidecar's injection.
        if isinstance(stored, list) and len(stored) == len(desired):
            for number, (one, other) in enumerate(zip(desired, stored, strict=True)):
                yield from _overruled(one, other, f"{path}[{number}]")
    elif desired and stored != desired and not _is_same_quantity(desired, stored):
        yield path.removeprefix(".")


def _is_same_quantity(one: Any, other: Any) -> bool:
    try:
        return quantity.number(str(one)) == quantity.number(str(other))
    except ValueError:
        return False


def _compared(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    kept = {name: metadata[name] for name in ("labels", "annotations") if name in metadata}
    return {
        **{name: value for name, value in manifest.items() if name not in {"apiVersion", "kind"}},
        "metadata": kept,
    }
