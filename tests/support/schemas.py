"""JSON schemas of whole objects, as strict as `kubectl --validate=strict`, from what a real API server publishes."""

import json
import time
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from tests.support.apiserver import ApiServer

FILE_NAME = "{{.Group}}-{{.ResourceAPIVersion}}-{{.ResourceKind}}.json"
"""As kubeconform writes it; the core group is called v1 there."""

PUBLISHED_SECONDS = 60
"""A kind of a CRD is established some time before its schema is published."""

KINDS_KEY, OPEN_KEY = "x-kubernetes-group-version-kind", "x-kubernetes-preserve-unknown-fields"


def write(server: ApiServer, kinds: Iterable[tuple[str, str]], folder: Path) -> None:
    """Write a schema for each kind, by FILE_NAME.

    Args:
        server: The API server, with its CRDs established.
        kinds: By apiVersion and kind, such as `("apps/v1", "Deployment")`.
        folder: Where to.

    Raises:
        AssertionError: The API server does not serve one of them.
    """
    wanted: dict[str, set[str]] = {}
    for api_version, kind in kinds:
        wanted.setdefault(api_version, set()).add(kind)
    for api_version, names in wanted.items():
        deadline = time.monotonic() + PUBLISHED_SECONDS
        while (published := _published(server, api_version, names)).keys() != names:
            assert time.monotonic() < deadline, f"{api_version} has no {names - published.keys()}"
            time.sleep(0.2)
        group, version = api_version.partition("/")[0], api_version.rpartition("/")[2]
        for kind, schema in published.items():
            (folder / f"{group}-{version}-{kind.lower()}.json").write_text(json.dumps(schema))


def write_crd(crd: dict[str, Any], folder: Path) -> None:
    """Write a schema for each version of a CRD that is not on the API server."""
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"].lower()
    for version in crd["spec"]["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        # What every object has; a CRD says no more of it.
        schema["properties"]["metadata"].pop("additionalProperties", None)
        (folder / f"{group}-{version['name']}-{kind}.json").write_text(json.dumps(schema))


def _published(server: ApiServer, api_version: str, names: Container[str]) -> dict[str, dict[str, Any]]:
    path = f"apis/{api_version}" if "/" in api_version else f"api/{api_version}"
    answered = server.run_kubectl("get", "--raw", f"/openapi/v3/{path}")
    return {} if answered.returncode else schemas(json.loads(answered.stdout), names)


def schemas(document: dict[str, Any], wanted: Container[str]) -> dict[str, dict[str, Any]]:
    """The strict schemas of some kinds of an OpenAPI 3 document, by kind."""
    components = {name: strict(schema) for name, schema in document["components"]["schemas"].items()}
    return {
        kinds[0]["kind"]: {"$ref": f"#/components/schemas/{name}", "components": {"schemas": components}}
        for name, schema in components.items()
        # What every kind has, such as DeleteOptions, names them all.
        if len(kinds := schema.get(KINDS_KEY, ())) == 1 and kinds[0]["kind"] in wanted
    }


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with fields refused that it does not name, where it names any."""
    made = {key: _inner(key, value) for key, value in schema.items()}
    if "properties" in made and not made.get(OPEN_KEY):
        made.setdefault("additionalProperties", False)
    return made


def _inner(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: strict(one) for name, one in value.items()}
    if key in {"allOf", "anyOf", "oneOf"}:
        return [strict(one) for one in value]
    if key in {"items", "additionalProperties", "not"} and isinstance(value, dict):
        return strict(value)
    return value
