"""Hashes of the desired objects, and of the same fields of the live ones. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatoperator.desired.manifests import render
from chatoperator.metadata import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.desired import Desired
    from chatoperator.metadata import Manifest, ObjectKey

OTHERWISE_COMPARED = {"apiVersion", "kind", "metadata", "spec"}
"""Fields of an object that are not compared as a whole."""


@dataclass(frozen=True, slots=True)
class ObjectDigest:
    """One desired object.

    Attributes:
        kind: Of the object.
        name: Of the object.
        digest: Of its manifest.
        places: Where the manifest has values: names of its fields, of those of its spec, of labels, of annotations.
    """

    kind: str
    name: str
    digest: str
    places: tuple[tuple[str, ...], ...]

    @property
    def key(self) -> ObjectKey:
        """(kind, name)."""
        return self.kind, self.name


class Rendering:
    """The desired objects of one ChatCluster, rendered once: their digests, and the manifests to apply.

    Between reconciles only the digests are kept, which take a hundredth of the memory: a sweep that finds nothing to
    do renders nothing.

    Attributes:
        desired: What was rendered.
        digests: One for each object, in the order of their making.
    """

    def __init__(self, desired: Desired) -> None:
        self.desired = desired
        self._manifests: tuple[Manifest, ...] | None = render(desired)
        self.digests = tuple(map(_object_digest, self._manifests))

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """The objects, in the order of their making."""
        if self._manifests is None:
            self._manifests = render(self.desired)
        return self._manifests

    def drop_manifests(self) -> None:
        """Free their memory: a reconcile has ended."""
        self._manifests = None

    def digest_of(self, key: ObjectKey) -> str | None:
        """Digest of the desired object with this (kind, name); None where there should be none."""
        return next((one.digest for one in self.digests if one.key == key), None)


def _object_digest(manifest: Manifest) -> ObjectDigest:
    metadata = manifest["metadata"]
    places = (
        manifest.keys() - OTHERWISE_COMPARED,
        manifest.get("spec", {}).keys(),
        metadata.get("labels", {}).keys(),
        metadata.get("annotations", {}).keys(),
    )
    sorted_places = tuple(tuple(sorted(names)) for names in places)
    return ObjectDigest(manifest["kind"], metadata["name"], digest(manifest), sorted_places)


def content(live: Manifest, desired: ObjectDigest) -> str:
    """Hash of the fields of a live object that the manifest of the desired one sets.

    Kubernetes fills in defaults and writes quantities its own way, so that this is compared with the API server's
    answer to an apply and not with the manifest. Status, and fields of other writers, do not count.
    """
    metadata = live["metadata"]
    fields, spec, labels, annotations = desired.places
    return digest(
        [
            _some(live, fields),
            _some(live.get("spec"), spec),
            _some(metadata.get("labels"), labels),
            _some(metadata.get("annotations"), annotations),
            metadata.get("ownerReferences"),
        ]
    )


def _some(whole: Mapping[str, Any] | None, names: tuple[str, ...]) -> list[Any]:
    return [(whole or {}).get(name) for name in names]
