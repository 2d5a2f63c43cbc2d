"""What lists and watches have told, by ChatCluster: the cache without its I/O. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from chatoperator.contest import WRITERS_FIELD, writers
from chatoperator.decoding import decode, encode
from chatoperator.manifests.metadata import INSTANCE_LABEL, KIND, MANAGED_BY, MANAGED_BY_LABEL

if TYPE_CHECKING:
    from chatoperator.lanes import Key
    from chatoperator.manifests.metadata import Manifest

Name = tuple[str, str, str]
"""(kind, namespace, name) of an object."""

Scope = tuple[str, str | None]
"""What one list or watch is about: a kind, and the namespace or None for all. Never both for one kind."""

LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object.

    Attributes:
        version: Its resourceVersion.
        owner: The ChatCluster it belongs to.
        text: The object as JSON: a tenth of the memory of the parsed one, and whoever reads it gets one of its own.
    """

    version: int
    owner: Key
    text: bytes


class Store:
    """ChatClusters, their children and pods. An older state of an object never takes the place of a newer one.

    It compares resourceVersions of one kind as numbers, which the API server counts up (KEP-5504).
    """

    def __init__(self) -> None:
        self._entries: dict[Name, _Entry] = {}
        self._owned: dict[Key, set[Name]] = {}
        self._told: dict[Scope, int] = {}
        self._listing: dict[Scope, set[Name]] = {}

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
        gone = [
            name
            for name, entry in self._entries.items()
            if name[0] == kind and within in (None, name[1]) and name not in there and entry.version <= version
        ]
        self._told[scope] = max(version, self._told.get(scope, 0))
        return {self._remove(name) for name in gone}

    def drop(self, scope: Scope) -> set[Key]:
        """The cluster has no such kind, or no longer, and so no object of it.

        Returns:
            The ChatClusters that something is gone of.
        """
        kind, within = scope
        self._told.pop(scope, None)
        gone = [name for name in self._entries if name[0] == kind and within in (None, name[1])]
        return {self._remove(name) for name in gone}

    def abandon(self, scope: Scope) -> None:
        """A list has not come to its end."""
        self._listing.pop(scope, None)

    def told(self, scope: Scope, news: str, raw: Manifest) -> set[Key]:
        """Take a watch's news.

        Args:
            scope: Of the watch.
            news: ADDED, MODIFIED, DELETED or BOOKMARK.
            raw: The object.

        Returns:
            The ChatClusters to look at: none where a change was the operator's own, which it has noted.
        """
        kind, _ = scope
        version = int(raw["metadata"]["resourceVersion"])
        self._told[scope] = max(version, self._told.get(scope, 0))
        if news == "BOOKMARK":
            return set()
        name = _name(kind, raw)
        if news == "DELETED":
            entry = self._entries.get(name)
            return {self._remove(name)} if entry is not None and entry.version <= version else set()
        touched, entry = self._put(kind, raw), self._entries[name]
        # A change that came before the noted one was somebody else's: nobody has looked at it yet.
        if entry.version > version:
            touched.add(entry.owner)
        return touched

    def note(self, scope: Scope, raw: Manifest) -> None:
        """Take the answer to a request, so that what was written is read before any watch tells of it.

        A watch that is past the answer has told it already, or of the object's end.

        Args:
            scope: Of the watch that the object is in.
            raw: The object.
        """
        kind, _ = scope
        labels = raw["metadata"].get("labels") or {}
        # Of what lost its labels no watch would tell the end.
        followed = kind == KIND or labels.get(MANAGED_BY_LABEL) == MANAGED_BY
        if followed and int(raw["metadata"]["resourceVersion"]) > self._told.get(scope, 0):
            self._put(kind, raw)

    def forget(self, kind: str, namespace: str, name: str) -> set[Key]:
        """Take an object for gone: a request found none."""
        there = (kind, namespace, name) in self._entries
        return {self._remove((kind, namespace, name))} if there else set()

    def _put(self, kind: str, raw: Manifest) -> set[Key]:
        name, owner, version = _name(kind, raw), _owner(kind, raw), int(raw["metadata"]["resourceVersion"])
        before = self._entries.get(name)
        if before is not None and before.version >= version:
            return set()
        touched = {owner}
        if before is not None and before.owner != owner:
            touched.add(self._remove(name))
        self._entries[name] = _Entry(version, owner, _text(kind, raw))
        if kind != KIND:
            self._owned.setdefault(owner, set()).add(name)
        return touched

    def _remove(self, name: Name) -> Key:
        owner = self._entries.pop(name).owner
        names = self._owned.get(owner, set())
        names.discard(name)
        if not names:
            self._owned.pop(owner, None)
        return owner


def _name(kind: str, raw: Manifest) -> Name:
    return kind, raw["metadata"]["namespace"], raw["metadata"]["name"]


def _owner(kind: str, raw: Manifest) -> Key:
    metadata = raw["metadata"]
    name = metadata["name"] if kind == KIND else (metadata.get("labels") or {}).get(INSTANCE_LABEL, "")
    return metadata["namespace"], str(name)


def _text(kind: str, raw: Manifest) -> bytes:
    # Lists leave out the kind; who owns which field, and what kubectl has applied, is half of an object, and of that
    # only who writes it is of use.
    metadata = {name: value for name, value in raw["metadata"].items() if name != "managedFields"}
    if kind not in (KIND, "Pod"):
        metadata[WRITERS_FIELD] = writers(raw, MANAGED_BY)
    annotations = metadata.get("annotations")
    if annotations and LAST_APPLIED_ANNOTATION in annotations:
        metadata["annotations"] = {n: value for n, value in annotations.items() if n != LAST_APPLIED_ANNOTATION}
    kept = {**raw, "kind": kind, "metadata": metadata}
    if kind == "Pod":
        # Its template is in the cache already, once for all pods.
        kept["spec"] = {"nodeName": raw.get("spec", {}).get("nodeName")}
    return encode(kept)


def _parsed(text: bytes) -> Manifest:
    return cast("Manifest", decode(text))
