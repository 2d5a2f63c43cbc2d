"""Each place that a field passes, from the CRD to a pod: the CRD, a struct, a manifest, and a setting of the server.

The table is tests/support/places.py. The tests say which place of a new field is still missing.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import inspect

from chatoperator.api.parse import parse
from chatoperator.api.spec import Spec
from chatoperator.desired.manifests import render
from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.parts.database import statefulset
from chatserver.environment import PREFIX
from chatserver.settings import Settings, read_settings
from tests.operator.test_crd import SCHEMA
from tests.operator.test_fields import PASSED_ON, bare
from tests.support.chatclusters import body, desired, instances_of
from tests.support.cluster import ROOT
from tests.support.extremes import merged
from tests.support.places import (
    ENVIRONMENT,
    EXTERNAL_BUS,
    PLACES,
    POSTED,
    RENAMED,
    USED_ELSEWHERE,
    VALKEY,
)
from tests.support.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SPEC = SCHEMA["properties"]["spec"]


def leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The fields that have none below them, as far as the structs go; entries of lists are not marked."""
    for name, child in schema["properties"].items():
        below, inner = f"{path}.{name}" if path else name, child.get("items", child)
        whole = f"spec.{below}" + ("[]" if "items" in child else "")
        if inner.get("properties") and not whole.endswith(tuple(PASSED_ON)):
            yield from leaves(inner, below)
        else:
            yield below


def attributes(struct: inspect.Type, path: str = "") -> Iterator[tuple[str, str]]:
    """Each field of a struct, and of those in it, with its attribute."""
    assert isinstance(struct, inspect.StructType)
    for field in struct.fields:
        below = f"{path}.{field.encode_name}" if path else field.encode_name
        yield below, field.name
        inner = bare(field.type)
        inner = bare(inner.item_type) if isinstance(inner, inspect.VarTupleType) else inner
        if isinstance(inner, inspect.StructType):
            yield from attributes(inner, below)


def test_each_field_of_the_crd_has_its_places() -> None:
    fields = list(leaves(SPEC))
    assert len(fields) > 80
    assert sorted(fields) == sorted({*PLACES, *USED_ELSEWHERE})
    assert not PLACES.keys() & USED_ELSEWHERE.keys()


def test_each_field_is_an_attribute_that_is_called_like_it() -> None:
    found = dict(attributes(inspect.type_info(Spec)))
    assert set(leaves(SPEC)) <= found.keys()
    snake = {path: re.sub("[A-Z]", lambda big: f"_{big[0].lower()}", path.rpartition(".")[2]) for path in found}
    assert {path: name for path, name in found.items() if name != snake[path]} == RENAMED


def spec_with(path: str, value: Any, beside: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a ChatCluster with the value at a path and something beside it."""
    names = path.split(".")
    if isinstance(value, list) and "env" in names:
        names = names[: names.index("env") + 1]
    made: Any = value
    for name in reversed(names):
        made = {name: made}
    whole: dict[str, Any] = merged(merged(body()["spec"], beside), made)
    otp = whole["auth"]["otp"]
    if otp["sender"] != "Webhook":
        otp.pop("webhook", None)
    return whole


def rendered(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Every value of every manifest by its kind, name and path."""
    cluster = parse({**body(), "spec": spec})
    config_digest = statefulset.config_digest(cluster, volume_size=cluster.database.storage.size)
    manifests = render(
        desired(cluster, served={CERTIFICATE, ROUTE}, config_digest=config_digest, replication=instances_of(cluster))
    )
    return {
        f"{manifest['kind']} {re.sub('-[0-9a-f]{10}$', '', manifest['metadata']['name'])} {path}": value
        for manifest in manifests
        for path, value in _values(manifest)
    }


def _values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = [
            (entry["name"] if isinstance(entry, dict) and "name" in entry else number, entry)
            for number, entry in enumerate(value)
        ]
    else:
        yield path, value
        return
    if not children:
        yield path, value
    for name, child in children:
        yield from _values(child, f"{path}.{name}" if path else str(name))


def before_and_after(field: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifests without and with the example of a field."""
    place = PLACES[field]
    return rendered(merged(body()["spec"], place.beside)), rendered(spec_with(field, place.value, place.beside))


@pytest.mark.parametrize("field", PLACES)
def test_each_field_changes_the_manifest_that_is_named(field: str) -> None:
    before, after = before_and_after(field)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    assert any(path.startswith(PLACES[field].manifest) for path in changed), changed


@pytest.mark.parametrize("field", USED_ELSEWHERE)
def test_each_other_field_is_read_by_the_operator(field: str) -> None:
    attribute, reason = USED_ELSEWHERE[field]
    assert reason
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "operator" / "chatoperator").rglob("*.py")]
    assert any(re.search(rf"\b{re.escape(attribute)}\b", source) for source in sources)


def environment(values: Mapping[str, Any], path: Path) -> dict[str, str]:
    """The servers' environment in some manifests' values, with files that exist."""
    given = re.compile(rf"{re.escape(ENVIRONMENT)}\.({PREFIX}\w+)\.value")
    made = {found[1]: str(value) for where, value in values.items() if (found := given.fullmatch(where))}
    for number, name in enumerate(name for name in made if name.endswith("_FILE")):
        (path / str(number)).write_text("postgresql://chat@db/chat 0123456789abcdef")
        made[name] = str(path / str(number))
    return made


@pytest.mark.parametrize("field", [field for field, place in PLACES.items() if place.setting is not None])
def test_each_variable_is_the_setting_that_is_named(field: str, tmp_path: Path) -> None:
    before, after = (read_settings(environment(values, tmp_path)) for values in before_and_after(field))
    different = {
        each.name for each in dataclasses.fields(Settings) if getattr(before, each.name) != getattr(after, each.name)
    }
    assert PLACES[field].setting in different
    # A webhook comes and goes with its sender.
    assert different <= {PLACES[field].setting, "otp_webhook"}


OPTIONAL = {"auth": {"callingCodes": ["49"]}, "retention": {"days": 30}}
"""Fields whose variables are only there when they are set."""


def owned() -> set[str]:
    """The variables that the operator sets itself, with whatever a spec has."""
    spec = merged(merged(body()["spec"], POSTED), OPTIONAL)
    return {
        found[1]
        for bus in (VALKEY, EXTERNAL_BUS)
        for where in rendered(merged(spec, bus))
        if (found := re.match(rf"{re.escape(ENVIRONMENT)}\.({PREFIX}\w+)\.", where))
    }


def test_servers_read_each_variable_that_the_operator_sets(tmp_path: Path) -> None:
    spec = merged(merged(body()["spec"], POSTED), OPTIONAL)
    given = Recorded(environment(rendered(merged(spec, VALKEY)), tmp_path))
    read_settings(given)
    assert owned() - given.read == set()


def test_users_may_set_no_variable_that_the_operator_sets() -> None:
    (rule,) = SPEC["properties"]["chatserver"]["properties"]["env"]["x-kubernetes-validations"]
    assert set(re.findall(rf"'({PREFIX}\w+)'", rule["rule"])) == owned()
