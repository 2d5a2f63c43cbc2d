"""A default is one value: in the CRD, in the operator, in the server, and on the pages that tell of it."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import Any

import pytest
import yaml

from chatoperator.api.parse import parse
from chatoperator.parts.manifests import desired
from chatserver.settings import Settings
from tests.operator.test_crd import SCHEMA
from tests.support.chatclusters import body, inputs
from tests.support.cluster import ROOT

SPEC = SCHEMA["properties"]["spec"]
LIMITS = SPEC["properties"]["auth"]["properties"]["limits"]["properties"]
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}

CHOSEN_BY_THE_OPERATOR = {
    "database_dsn_file": "a mounted Secret",
    "secret_key_file": "a mounted Secret",
    "server_name": "the pod's name",
    "database_pool_size": "the server's share of the connections",
    "drain_seconds": "without what the proxies need to notice",
    "readiness_notice_seconds": "as the proxies are set",
    "proxies_host": "the proxies' Service",
    "proxy_stay_seconds": "as the proxies are set",
    "max_connections": "from targetConnectionsPerServer, in steps",
    "trusted_proxy_hops": "as many as there are in front",
    "allowed_origins": "the hostnames' too",
}


def defaulted(value: Any, schema: dict[str, Any]) -> Any:
    """What the API server makes of a value: missing fields with a default are filled in."""
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name not in value and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                value[name] = defaulted(value[name], child)
    return value


def test_an_object_from_before_a_field_existed_is_read_as_one_that_the_api_server_filled_in() -> None:
    stored = body()
    filled = copy.deepcopy(stored)
    filled["spec"] = defaulted(filled["spec"], SPEC)
    assert filled["spec"]["auth"]["limits"] == {name: field["default"] for name, field in LIMITS.items()}
    assert parse(stored) == parse(filled)


def environment() -> dict[str, str]:
    """What the operator tells the chatservers of a ChatCluster with nothing but defaults."""
    for manifest in desired(parse(body()), inputs()):
        if manifest["kind"] == "Deployment" and manifest["metadata"]["name"].endswith("-chatserver"):
            container = manifest["spec"]["template"]["spec"]["containers"][0]
            return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    raise AssertionError("no chatservers")


def test_a_server_by_itself_has_the_limits_of_one_that_the_operator_makes() -> None:
    told = {name.removeprefix("CHAT_").lower(): value for name, value in environment().items()}
    compared = {name: value for name, value in told.items() if name in DEFAULTS and name not in CHOSEN_BY_THE_OPERATOR}
    assert {"codes_per_address_per_hour", "stored_bytes_per_user_per_hour", "session_days"} <= compared.keys()
    assert compared == {name: str(DEFAULTS[name]) for name in compared}


@pytest.mark.parametrize("name", LIMITS)
def test_the_page_about_abuse_has_each_limit_with_its_default(name: str) -> None:
    text = (ROOT / "docs" / "sign-in-codes.md").read_text(encoding="utf-8")
    (cell,) = re.findall(rf"\(`{name}`\).*? \| (.*?) \|", text)
    assert cell.startswith(f"{LIMITS[name]['default']:,}" if LIMITS[name]["default"] else "off")


def test_the_demonstration_lets_many_people_sign_in_from_one_address() -> None:
    objects = list(yaml.safe_load_all((ROOT / "examples" / "minimal.yaml").read_text()))
    (demo,) = [each for each in objects if each["kind"] == "ChatCluster"]
    assert demo["spec"]["auth"]["limits"]["codesPerAddressPerHour"] == 1000
