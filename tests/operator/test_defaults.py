"""A default or bound is one value: in the CRD, in the operator, in the server, and on the pages that state it."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chatoperator.api.chatserver import CONNECTION_CAP_STEP
from chatoperator.api.database import MAX_CONNECTIONS_DEFAULT, RESERVED_CONNECTIONS
from chatoperator.api.parse import parse
from chatoperator.api.spec import POOL_SIZE_MAX
from chatoperator.errors import SpecError
from chatoperator.parts.placement import LOST_NODE_SECONDS
from chatserver.environment import PREFIX, SettingsError
from chatserver.settings import Settings, read_settings
from tests.operator.test_crd import SCHEMA
from tests.operator.test_places import environment, rendered, spec_with
from tests.support.chatclusters import body
from tests.support.cluster import ROOT
from tests.support.extremes import extremes, merged
from tests.support.places import PLACES, POSTED

if TYPE_CHECKING:
    from pathlib import Path

SPEC = SCHEMA["properties"]["spec"]
LIMITS = SPEC["properties"]["auth"]["properties"]["limits"]["properties"]
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Settings)}

CHOSEN_BY_THE_OPERATOR = {
    "database_dsn_file": "a mounted Secret",
    "secret_key_file": "a mounted Secret",
    "database_pool_size": "the server's share of the connections",
    "readiness_notice_seconds": "the time after which these proxies notice",
    "proxies_host": "the proxies' Service",
}
"""Settings of which a server by itself has another default, with what decides here."""


def field_of(path: str) -> dict[str, Any]:
    """The CRD's schema of a field such as `auth.sessionDays`."""
    schema: dict[str, Any] = SPEC
    for name in path.split("."):
        schema = schema["properties"][name]
    return schema


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


def test_a_server_by_itself_has_the_defaults_of_one_that_the_operator_makes(tmp_path: Path) -> None:
    given = environment(rendered(body()["spec"]), tmp_path)
    made = read_settings(given)
    set_by_the_operator = {name.removeprefix(PREFIX).lower() for name in given}
    compared = set_by_the_operator - CHOSEN_BY_THE_OPERATOR.keys()
    assert {"codes_per_address_per_hour", "drain_seconds", "max_connections", "session_days"} <= compared
    assert {name: getattr(made, name) for name in compared} == {name: DEFAULTS[name] for name in compared}
    assert CHOSEN_BY_THE_OPERATOR.keys() <= set_by_the_operator


BOUNDED = [
    path
    for path, place in PLACES.items()
    if place.setting is not None
    and path.startswith(("auth.", "chatserver.drain", "retention."))
    and "maximum" in field_of(path)
]
"""Whole numbers that servers read as they are in the spec."""

WIDER = {
    "chatserver.drainSeconds": "tests and `chatserver dev` stop at once",
    **dict.fromkeys(
        (path for path in BOUNDED if path.startswith("auth.limits.")),
        "a benchmark has no limits; the server's own bounds only catch typing errors",
    ),
}
"""Fields whose setting takes more than the CRD, with the reason."""


@pytest.mark.parametrize("path", BOUNDED)
def test_a_server_takes_what_the_crd_takes(path: str, tmp_path: Path) -> None:
    schema, setting = field_of(path), str(PLACES[path].setting)
    spec, variable = body()["spec"], PREFIX + setting.upper()
    for value in (schema["minimum"], schema["maximum"]):
        given = environment(rendered(spec_with(path, value, {})), tmp_path)
        assert given[variable] == str(value)
        assert getattr(read_settings(given), setting) == value
    given = environment(rendered(spec), tmp_path)
    if path not in WIDER:
        for value in (schema["minimum"] - 1, schema["maximum"] + 1):
            with pytest.raises(SettingsError, match=variable):
                read_settings({**given, variable: str(value)})


@pytest.mark.parametrize("part", ["auth", "chatserver", "database", "ingress"])
def test_servers_start_with_each_extreme_value_that_the_operator_accepts(part: str, tmp_path: Path) -> None:
    """What a server refuses is a pod that restarts for ever, where the operator could have named the field."""
    refused = {}
    for where, value in extremes(SPEC["properties"][part], part):
        if ".podTemplate" in where or ".resources" in where or where.startswith("chatserver.env"):
            continue
        beside = POSTED if where.startswith("auth.otp.webhook") else {}
        try:
            made = rendered(merged(merged(body()["spec"], beside), {part: value}))
        except SpecError:
            continue
        try:
            read_settings(environment(made, tmp_path))
        except SettingsError as error:
            refused[where] = str(error)
    assert refused == {}


@pytest.mark.parametrize(
    ("url", "usable"),
    [
        ("https://sms.example.com/codes?key=%20", True),
        ("https://[2001:db8::1]:8443/codes", True),
        ("https://sms.ex\u00e4mple.com/codes", False),
        ("https://sms.example.com/a b", False),
        ("https://sms.example.com/#a", False),
        ("https://:8443/codes", False),
        ("https://user@sms.example.com", False),
        ("https://sms.example.com:99999", False),
    ],
)
def test_operator_and_server_take_the_same_webhooks(url: str, *, usable: bool, tmp_path: Path) -> None:
    posted = merged(POSTED, {"auth": {"otp": {"webhook": {"url": url}}}})
    given = environment(rendered(merged(body()["spec"], POSTED)), tmp_path) | {"CHAT_OTP_WEBHOOK_URL": url}
    if usable:
        parse(body(**posted))
        read_settings(given)
    else:
        with pytest.raises(SpecError, match=r"auth\.otp\.webhook\.url"):
            parse(body(**posted))
        with pytest.raises(SettingsError, match="CHAT_OTP_WEBHOOK_URL"):
            read_settings(given)


@pytest.mark.parametrize("name", LIMITS)
def test_the_page_about_abuse_has_each_limit_with_its_default(name: str) -> None:
    text = (ROOT / "docs" / "sign-in-codes.md").read_text(encoding="utf-8")
    (cell,) = re.findall(rf"\(`{name}`\).*? \| (.*?) \|", text)
    assert cell.startswith(f"{LIMITS[name]['default']:,}" if LIMITS[name]["default"] else "off")


STATED: list[tuple[str, str, int | str]] = [
    ("docs/protocol.md", "valid for {} days by default", "auth.sessionDays"),
    ("docs/python-client.md", "expires ({} days by default", "auth.sessionDays"),
    ("docs/python-client.md", "may send {} messages a minute by default", "auth.limits.messagesPerUserPerMinute"),
    ("docs/protocol.md", "for one address | 5; {} (429)", "auth.limits.codesPerAddressPerHour"),
    ("docs/protocol.md", "for one address | {};", "auth.limits.codesPerNumberPerHour"),
    ("docs/protocol.md", "in a minute | {};", "auth.limits.messagesPerUserPerMinute"),
    ("docs/protocol.md", "in a minute | 600; {} (429)", "auth.limits.requestsPerDevicePerMinute"),
    ("docs/protocol.md", "for each row | {} (429)", "auth.limits.storedBytesPerUserPerHour"),
    ("docs/protocol.md", "from one address | {};", "auth.limits.numbersPerUserPerDay"),
    ("docs/protocol.md", "from one address | 5,000; {} (429)", "auth.limits.numbersPerAddressPerDay"),
    ("docs/sign-in-codes.md", "one address: {} sign-ins an hour", "auth.limits.codesPerAddressPerHour"),
    ("docs/operations/sizing.md", "the target of {} connections", "chatserver.targetConnectionsPerServer"),
    ("docs/operations/sizing.md", "`max_connections` less {} are", RESERVED_CONNECTIONS),
    ("docs/operations/sizing.md", "at most {} a server", POOL_SIZE_MAX),
    ("docs/operations/sizing.md", "the default of {} connections", MAX_CONNECTIONS_DEFAULT),
    ("docs/operations/database.md", "`max_connections` is {} for", MAX_CONNECTIONS_DEFAULT),
    ("docs/operations/changes.md", "more than {} connections a server", CONNECTION_CAP_STEP),
    ("crds/chatcluster.yaml", "a multiple of {}", CONNECTION_CAP_STEP),
    ("crds/chatcluster.yaml", "after {} s unless", LOST_NODE_SECONDS),
    ("docs/operations/database-connections.md", "without the operator is {}", DEFAULTS["database_pool_size"]),
    ("docs/operations/database-connections.md", "to at most {}", POOL_SIZE_MAX),
    ("docs/operations/ingress.md", "{} s, plus a second for each 8 KiB", DEFAULTS["request_seconds"]),
    ("docs/audit-log.md", "after {} days (`CHAT_AUDIT_DAYS`)", DEFAULTS["audit_days"]),
]
"""Pages with what they say of a default: the CRD's of a field, or a constant."""


@pytest.mark.parametrize(("page", "text", "value"), STATED)
def test_a_page_states_the_default(page: str, text: str, value: int | str) -> None:
    default = field_of(value)["default"] if isinstance(value, str) else value
    said = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert text.format(f"{default:,}") in said


def test_the_demonstration_lets_many_users_sign_in_from_one_address() -> None:
    objects = list(yaml.load_all((ROOT / "examples" / "minimal.yaml").read_text(), yaml.CSafeLoader))
    (demo,) = [each for each in objects if each["kind"] == "ChatCluster"]
    assert demo["spec"]["auth"]["limits"]["codesPerAddressPerHour"] == 1000
