"""What one ChatCluster's objects should say, as hashes, and what the live ones say in the same places. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatoperator.metadata import digest
from chatoperator.parts.manifests import desired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.parts.manifests import Inputs

OTHERWISE_COMPARED = {"apiVersion", "kind", "metadata", "spec"}
"""Fields of an object that are not compared as a whole."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One object that there should be.

    Attributes:
        kind: Of the object.
        name: Of the object.
        digest: Of its manifest.
        places: Where the manifest says something: names of its fields, of those of its spec, of labels, of annotations.
    """

    kind: str
    name: str
    digest: str
    places: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Wishes:
    """What there should be, kept so that a sweep that finds nothing new need not render it again.

    Attributes:
        cluster: What it was rendered from.
        inputs: What else.
        all: One for each object, in the order of their making.
    """

    cluster: ChatCluster
    inputs: Inputs
    all: tuple[Wish, ...]


def wishes(cluster: ChatCluster, inputs: Inputs, held: Wishes | None) -> Wishes:
    """What there should be; what was held before where nothing has changed."""
    if held is not None and held.inputs == inputs and held.cluster == cluster:
        return held
    return Wishes(cluster, inputs, tuple(_wish(manifest) for manifest in desired(cluster, inputs)))


def _wish(manifest: Manifest) -> Wish:
    metadata = manifest["metadata"]
    places = (
        manifest.keys() - OTHERWISE_COMPARED,
        manifest.get("spec", {}).keys(),
        metadata.get("labels", {}).keys(),
        metadata.get("annotations", {}).keys(),
    )
    return Wish(manifest["kind"], metadata["name"], digest(manifest), tuple(tuple(sorted(names)) for names in places))


def content(live: Manifest, wish: Wish) -> str:
    """Hash of what a live object says where its manifest says something.

    Kubernetes fills in defaults and writes quantities its own way, so that this is compared with what the API server
    answered to an apply and not with the manifest. Status, and what others add, do not count.
    """
    metadata = live["metadata"]
    fields, spec, labels, annotations = wish.places
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
