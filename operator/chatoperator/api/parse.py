"""parse(body): a ChatCluster as the API server gives it, decoded into the spec's structs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from chatoperator.api.explanations import explain
from chatoperator.api.spec import ChatCluster, Spec

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(body: Mapping[str, Any]) -> ChatCluster:
    """Read a ChatCluster as the API server gives it.

    The structs have the CRD's defaults, for objects that were stored before a field existed.

    Args:
        body: The whole object: apiVersion, kind, metadata, spec.

    Raises:
        SpecError: A value cannot work; it names the field and the remedy.
    """
    metadata = body["metadata"]
    raw = _without_nulls(body.get("spec") or {})
    try:
        spec = msgspec.convert(raw, Spec)
    except msgspec.ValidationError as error:
        raise explain(error, raw) from error
    return ChatCluster(
        **msgspec.structs.asdict(spec),
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=int(metadata.get("generation", 0)),
        created=str(metadata.get("creationTimestamp", "")),
    )


def _without_nulls(value: Any) -> Any:
    """The same with null fields absent, at any depth: server-side apply stores what a file leaves empty."""
    if isinstance(value, dict):
        return {name: _without_nulls(child) for name, child in value.items() if child is not None}
    return [_without_nulls(entry) for entry in value] if isinstance(value, list) else value
