"""The objects that lists and watches have delivered, by ChatCluster: the cache without its I/O. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from chatoperator.kube.decoding import decode, encode, excerpt, is_whole
from chatoperator.kube.kept import kept, owner_of
from chatoperator.kube.memory import CHATCLUSTER_BYTES_MAX, ENTRY_BYTES, Room
from chatoperator.metadata import KIND, MANAGED_BY, MANAGED_BY_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatoperator.kube.lanes import Key
    from chatoperator.metadata import Manifest

Name = tuple[str, str, str]
"""(kind, namespace, name) of an object."""

Scope = tuple[str, str | None]
"""What one list or watch is about: a kind, and the namespace or None for all. Never both for one kind."""

BYTES_MAX = 192 * 1024 * 1024
"""Of all objects together, where nobody says otherwise: three eighths of 512 MiB."""

CUT_BYTES_MIN = 4 * 1024
"""Of what is cut for lack of room: the excerpt of a smaller object would be no smaller."""

LEFT_OUT_MAX = 10_000
"""Names of objects that there was no room for at all: no more are counted."""


RESTLESS = frozenset({"ConfigMap", "Pod"})
"""Kinds that others change all the time in ways that nobody reads: Patroni renews its lease every 5 s."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """One object.

    Attributes:
        version: Its resourceVersion.
        owner: The ChatCluster it belongs to.
        text: The object as JSON: a tenth of the memory of the parsed one, and whoever reads it gets one of its own.
        cut: Bytes of it that there was no room for; where there are some, the text is an excerpt.
    """

    version: int
    owner: Key
    text: bytes
    cut: int = 0


class Store:
    """ChatClusters, their children and pods. An older state of an object never takes the place of a newer one.

    It compares resourceVersions of one kind as numbers, which the API server counts up (KEP-5504).

    Args:
        bytes_max: Of all objects together. Where there is no room, the largest objects of the namespace that takes most
            are cut to excerpts, and what that namespace brings beyond is left out.
    """

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._entries: dict[Name, _Stored] = {}
        self._owned: dict[Key, set[Name]] = {}
        self._seen_versions: dict[Scope, int] = {}
        self._listing: dict[Scope, set[Name]] = {}
        self._room = Room(bytes_max)
        self._large = Counter[str]()
        self._cut = set[Name]()
        self._left_out: dict[Name, Key] = {}

    @property
    def bytes_taken(self) -> int:
        """Of all objects together."""
        return self._room.total

    @property
    def is_crowded(self) -> bool:
        """Whether there is something that there was no room for."""
        return bool(self._cut or self._left_out)

    def without_room(self) -> dict[str, int]:
        """How many objects there was no room for, by namespace."""
        return dict(Counter(namespace for _, namespace, _ in (*self._cut, *self._left_out)))

    def has_room_again(self, scope: Scope) -> bool:
        """Whether a new list of these would keep something that there was no room for before."""
        kind, within = scope
        of_owners: Counter[Key] = Counter()
        of_namespaces: Counter[str] = Counter()
        for name, owner in self._left_out.items():
            if name[0] == kind and within in (None, name[1]):
                of_owners[owner] += CUT_BYTES_MIN
                of_namespaces[name[1]] += CUT_BYTES_MIN
        for name in self._cut:
            if name[0] == kind and within in (None, name[1]):
                entry = self._entries[name]
                of_owners[entry.owner] += entry.cut
                of_namespaces[name[1]] += entry.cut
        return any(
            self._room.fits(owner, of_owner=more, of_all=of_namespaces[owner[0]]) for owner, more in of_owners.items()
        )

    def __len__(self) -> int:
        """How many objects there are."""
        return len(self._entries)

    def chatclusters(self) -> list[Key]:
        """All ChatClusters."""
        return [(namespace, name) for kind, namespace, name in self._entries if kind == KIND]

    def chatcluster(self, key: Key) -> Manifest | None:
        """A ChatCluster; None where there is none."""
        entry = self._entries.get((KIND, *key))
        return _parsed(entry.text) if entry else None

    def size(self, key: Key) -> int:
        """Bytes of a ChatCluster's own text; 0 where there is none."""
        entry = self._entries.get((KIND, *key))
        return len(entry.text) if entry else 0

    def owned(self, key: Key) -> dict[tuple[str, str], Manifest]:
        """The children and pods of a ChatCluster, by (kind, name) and in their order."""
        names = sorted(self._owned.get(key, ()))
        return {(kind, name): _parsed(self._entries[kind, namespace, name].text) for kind, namespace, name in names}

    def listed(self, scope: Scope, page: list[Manifest]) -> set[Key]:
        """Take a page of a list. Once all are in, `complete` says what was not among them.

        Returns:
            The ChatClusters of which something is different now.
        """
        kind, _ = scope
        names = self._listing.setdefault(scope, set())
        touched = set()
        for raw in page:
            names.add(_name(kind, raw))
            touched |= self._put(kind, raw)
        return touched

    def complete(self, scope: Scope, resource_version: str) -> set[Key]:
        """A list has ended: what was not in it is gone, unless it was noted later than the list was made.

        Args:
            scope: Of the list.
            resource_version: Of the list.

        Returns:
            The ChatClusters that something is gone of.
        """
        kind, within = scope
        version, there = int(resource_version), self._listing.pop(scope, set())
        self._forget_left_out(scope, there)
        gone = [
            name
            for name, entry in self._entries.items()
            if name[0] == kind and within in (None, name[1]) and name not in there and entry.version <= version
        ]
        self._seen_versions[scope] = max(version, self._seen_versions.get(scope, 0))
        return {self._remove(name) for name in gone}

    def drop(self, scope: Scope) -> set[Key]:
        """The cluster has no such kind, or no longer, and so no object of it.

        Returns:
            The ChatClusters that something is gone of.
        """
        kind, within = scope
        self._seen_versions.pop(scope, None)
        gone = [name for name in self._entries if name[0] == kind and within in (None, name[1])]
        self._forget_left_out(scope, set())
        return {self._remove(name) for name in gone}

    def abandon(self, scope: Scope) -> None:
        """A list has not come to its end."""
        self._listing.pop(scope, None)

    def apply_event(self, scope: Scope, event: str, raw: Manifest) -> set[Key]:
        """Take an event of a watch.

        Args:
            scope: Of the watch.
            event: ADDED, MODIFIED, DELETED or BOOKMARK.
            raw: The object.

        Returns:
            The ChatClusters to look at: none where a change was the operator's own, which it has noted.
        """
        kind, _ = scope
        version = int(raw["metadata"]["resourceVersion"])
        self._seen_versions[scope] = max(version, self._seen_versions.get(scope, 0))
        if event == "BOOKMARK":
            return set()
        name = _name(kind, raw)
        if event == "DELETED":
            self._left_out.pop(name, None)
            entry = self._entries.get(name)
            return {self._remove(name)} if entry is not None and entry.version <= version else set()
        touched = self._put(kind, raw)
        entry = self._entries.get(name)
        # A change that came before the noted one was somebody else's: nobody has looked at it yet.
        if entry is not None and entry.version > version:
            touched.add(entry.owner)
        return touched

    def note(self, scope: Scope, raw: Manifest) -> None:
        """Take the answer to a request, so that what was written is read before any watch delivers it.

        A watch that is past the answer has delivered it already, or the object's deletion.

        Args:
            scope: Of the watch that the object is in.
            raw: The object.
        """
        kind, _ = scope
        labels = raw["metadata"].get("labels") or {}
        # No watch would deliver the deletion of an object that lost its labels.
        followed = kind == KIND or labels.get(MANAGED_BY_LABEL) == MANAGED_BY
        if followed and int(raw["metadata"]["resourceVersion"]) > self._seen_versions.get(scope, 0):
            self._put(kind, raw)

    def forget(self, kind: str, namespace: str, name: str) -> set[Key]:
        """Take an object for gone: a request found none."""
        there = (kind, namespace, name) in self._entries
        return {self._remove((kind, namespace, name))} if there else set()

    def _put(self, kind: str, raw: Manifest) -> set[Key]:
        name, owner, version = _name(kind, raw), owner_of(kind, raw), int(raw["metadata"]["resourceVersion"])
        before = self._entries.get(name)
        if before is not None and (before.version > version or (before.version == version and not before.cut)):
            return set()
        touched = {self._remove(name)} if before is not None else set()
        self._left_out.pop(name, None)
        made = kept(kind, raw)
        if made is None:
            return touched
        self._insert(name, _Stored(version, owner, encode(made)))
        self._make_room(name, owner)
        same = kind in RESTLESS and before is not None and not before.cut and _is_same(made, before.text)
        return set() if same and touched == {owner} else touched | {owner}

    def _make_room(self, name: Name, owner: Key) -> None:
        """Cut the largest objects of a ChatCluster that has too many, and of the namespace that takes most."""
        excess = self._room.excess(owner)
        if excess > 0:
            limit = f"{CHATCLUSTER_BYTES_MAX // 1024 // 1024} MiB"
            why = f"makes the objects of ChatCluster {owner[1]} exceed {limit} together"
            self._cut_largest([*self._owned.get(owner, ()), (KIND, *owner)], excess, why)
        crowded = self._room.crowded()
        if crowded is not None and self._large[crowded[0]]:
            namespace, excess = crowded
            taken = round(self._room.taken(namespace) / 1024 / 1024)
            why = f"is among the objects of namespace {namespace}, which use {taken} MiB together"
            self._cut_largest([one for one in self._entries if one[1] == namespace], excess, why)
            crowded = self._room.crowded()
        if self._room.excess(owner) > 0 or (crowded is not None and crowded[0] == owner[0]):
            self._remove(name)
            if len(self._left_out) < LEFT_OUT_MAX:
                self._left_out[name] = owner

    def _cut_largest(self, names: Iterable[Name], excess: int, why: str) -> None:
        """Make excerpts of the largest of these objects until so many bytes are free."""
        found = [(len(self._entries[name].text), name) for name in names if name in self._entries]
        for length, name in sorted(found, reverse=True):
            if excess <= 0 or length < CUT_BYTES_MIN:
                return
            entry, parsed = self._entries[name], _parsed(self._entries[name].text)
            if is_whole(parsed):
                text = encode(excerpt(parsed, why))
                self._remove(name)
                self._insert(name, _Stored(entry.version, entry.owner, text, max(1, length - len(text))))
                excess -= length - len(text)

    def _forget_left_out(self, scope: Scope, there: set[Name]) -> None:
        """Of what is not there any more."""
        kind, within = scope
        gone = [name for name in self._left_out if name[0] == kind and within in (None, name[1]) and name not in there]
        for name in gone:
            del self._left_out[name]

    def _insert(self, name: Name, entry: _Stored) -> None:
        self._entries[name] = entry
        if name[0] != KIND:
            self._owned.setdefault(entry.owner, set()).add(name)
        self._room.change(entry.owner, len(entry.text) + ENTRY_BYTES)
        if entry.cut:
            self._cut.add(name)
        else:
            self._large[name[1]] += len(entry.text) >= CUT_BYTES_MIN

    def _remove(self, name: Name) -> Key:
        entry = self._entries.pop(name)
        names = self._owned.get(entry.owner, set())
        names.discard(name)
        if not names:
            self._owned.pop(entry.owner, None)
        self._room.change(entry.owner, -len(entry.text) - ENTRY_BYTES)
        if entry.cut:
            self._cut.discard(name)
        else:
            self._large[name[1]] -= len(entry.text) >= CUT_BYTES_MIN
        return entry.owner


def _name(kind: str, raw: Manifest) -> Name:
    return kind, raw["metadata"]["namespace"], raw["metadata"]["name"]


def _is_same(made: Manifest, before: bytes) -> bool:
    """Whether an object differs from its text of before in nothing that is kept of it but its resourceVersion."""
    version = _parsed(before)["metadata"]["resourceVersion"]
    return encode({**made, "metadata": {**made["metadata"], "resourceVersion": version}}) == before


def _parsed(text: bytes) -> Manifest:
    return cast("Manifest", decode(text))
