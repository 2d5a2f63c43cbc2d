"""spec.bus: which bus chatservers use while it changes, its objects, and what is wrong with a Secret or a release."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.api import busurls
from chatoperator.api.parse import parse
from chatoperator.conditions import conditions
from chatoperator.conditions.inputs import ConditionInputs
from chatoperator.desired import bus, release
from chatoperator.desired.manifests import render
from chatoperator.errors import SpecError
from chatoperator.metadata import owner
from chatoperator.observed import Answer, Observed, Reading
from chatoperator.parts.bus import access
from chatoperator.parts.bus.credentials import RIGHTS, BusCredentials
from chatoperator.parts.bus.external import BusSecretError, judge
from chatoperator.parts.chatserver import deployment
from chatoperator.reconcile.cleanup import undesired
from chatoperator.reconcile.touch import stale_mounts
from chatserver.bus_settings import read_bus_settings
from chatserver.environment import SettingsError
from tests.support.chatclusters import BUS_CREDENTIALS, BUS_SECRET, NOW, SETTINGS, body, cluster, desired, pod, secret
from tests.support.cluster import ROOT

if TYPE_CHECKING:
    from chatoperator.desired.bus import DesiredBus
    from chatoperator.parts.bus.access import ServerBus

VALKEY: dict[str, Any] = {"bus": {"type": "Valkey"}}
EXTERNAL: dict[str, Any] = {"bus": {"type": "External", "external": {"secretName": "theirs"}}}
HOST = "demo-bus.chat.svc.cluster.local"
TWO, THREE = (access.own("demo", HOST, count) for count in (2, 3))
THEIRS = judge("theirs", secret("theirs", **BUS_SECRET), default_prefix="chat.demo")


def valkeys(count: int, ready: int | None = None) -> dict[tuple[str, str], Any]:
    """Its StatefulSet."""
    ready = count if ready is None else ready
    counts = {"replicas": count, "updatedReplicas": count, "readyReplicas": ready, "observedGeneration": 1}
    live = {"metadata": {"name": "demo-bus", "generation": 1}, "spec": {"replicas": count}, "status": counts}
    return {("StatefulSet", "demo-bus"): live}


def servers(used: ServerBus, *, updated: int = 2) -> dict[tuple[str, str], Any]:
    """The chatservers' Deployment with two pods, of which some have its template."""
    made = deployment.deployment(
        cluster(), image="a", pull_policy="Never", replicas=2, schema="s", cluster_domain="cluster.local", bus=used
    )
    made["metadata"]["generation"] = 1
    made["status"] = {"replicas": 2, "updatedReplicas": updated, "readyReplicas": 2, "observedGeneration": 1}
    return {("Deployment", "demo-chatserver"): made}


def decide(spec: dict[str, Any], *children: dict[tuple[str, str], Any], **observed: Any) -> DesiredBus:
    numbers = itertools.count()
    there = dict(itertools.chain.from_iterable(each.items() for each in children))
    return bus.decide(
        cluster(**spec),
        Observed(there, observed.pop("pods", ()), **observed),
        cluster_domain="cluster.local",
        now=NOW,
        new_secret=lambda: f"secret {next(numbers)}",
    )


PODS = {"bus": {"type": "Valkey", "valkey": {"replicas": 3}}}
HAVE_SECRET: dict[str, Any] = {"user_secrets": {"theirs": secret("theirs", **BUS_SECRET)}}
DRAINING = {"pods": (pod("a", "chatserver", terminating=True),)}


@pytest.mark.parametrize(
    ("spec", "children", "observed", "expected"),
    [
        # By default nothing is made, and nothing is set.
        ({}, [], {}, (access.POSTGRESQL, None, False)),
        ({}, [servers(access.POSTGRESQL)], {}, (access.POSTGRESQL, None, False)),
        # A new chat begins with Valkey: servers connect when it is there.
        (VALKEY, [], {}, (TWO, 2, False)),
        # Servers that run change to it only once all of it is ready.
        (VALKEY, [servers(access.POSTGRESQL)], {}, (access.POSTGRESQL, 2, False)),
        (VALKEY, [servers(access.POSTGRESQL), valkeys(2, ready=1)], {}, (access.POSTGRESQL, 2, False)),
        (VALKEY, [servers(access.POSTGRESQL), valkeys(2)], {}, (TWO, 2, False)),
        # An outage moves nobody.
        (VALKEY, [servers(TWO), valkeys(2, ready=0)], {}, (TWO, 2, False)),
        # Back: it stays until all servers have been replaced and have drained.
        ({}, [servers(TWO), valkeys(2)], {}, (access.POSTGRESQL, None, True)),
        ({}, [servers(access.POSTGRESQL, updated=1), valkeys(2)], {}, (access.POSTGRESQL, None, True)),
        ({}, [servers(access.POSTGRESQL), valkeys(2)], DRAINING, (access.POSTGRESQL, None, True)),
        ({}, [servers(access.POSTGRESQL), valkeys(2)], {}, (access.POSTGRESQL, None, False)),
        # More pods are there before their servers use them, fewer only afterwards.
        (PODS, [servers(TWO), valkeys(2)], {}, (TWO, 3, False)),
        (PODS, [servers(TWO), valkeys(3)], {}, (THREE, 3, False)),
        (VALKEY, [servers(THREE), valkeys(3)], {}, (TWO, 3, False)),
        (VALKEY, [servers(TWO, updated=1), valkeys(3)], {}, (TWO, 3, False)),
        (VALKEY, [servers(TWO), valkeys(3)], DRAINING, (TWO, 3, False)),
        (VALKEY, [servers(TWO), valkeys(3)], {}, (TWO, 2, False)),
        # To a Valkey of the user's, and not with a Secret that is missing.
        (EXTERNAL, [servers(TWO), valkeys(2)], HAVE_SECRET, (THEIRS, None, True)),
        (EXTERNAL, [servers(THEIRS), valkeys(2)], HAVE_SECRET, (THEIRS, None, False)),
        (EXTERNAL, [servers(TWO), valkeys(2)], {}, (TWO, None, True)),
        (EXTERNAL, [], {}, (access.POSTGRESQL, None, False)),
    ],
)
def test_a_bus_is_there_before_servers_use_it_and_stays_as_long_as_one_does(
    spec: dict[str, Any], children: list[Any], observed: dict[str, Any], expected: tuple[ServerBus, int | None, bool]
) -> None:
    made = decide(spec, *children, **observed)
    assert (made.servers, made.pods, made.leaving) == expected


def test_a_name_of_somebody_elses_keeps_a_new_chat_from_no_bus() -> None:
    others = {("Secret", "demo-bus"): {"metadata": {"name": "demo-bus"}}}
    assert decide(VALKEY, others=others).servers == access.POSTGRESQL


def test_valkey_is_deleted_with_what_has_an_effect_and_only_when_no_server_uses_it() -> None:
    kinds = ("StatefulSet", "Service", "NetworkPolicy", "ConfigMap", "Secret", "PodDisruptionBudget")
    held = {"metadata": {"name": "demo-bus", "ownerReferences": [owner("demo", "0000-demo")]}}
    observed = Observed({(kind, "demo-bus"): held for kind in kinds}, ())
    gone = undesired(desired(cluster()), observed, ())
    assert {kind for kind, _ in gone} == {"StatefulSet", "Service", "NetworkPolicy"}
    leaving = bus.DesiredBus(access.POSTGRESQL, leaving=True)
    assert undesired(desired(cluster(), bus=leaving), observed, ()) == {}


def stored(credentials: BusCredentials | None) -> dict[tuple[str, str], Any]:
    """The Secret that the operator makes of them."""
    made = render(desired(cluster(**VALKEY), bus=bus.DesiredBus(TWO, pods=2, credentials=credentials)))
    key = ("Secret", "demo-bus")
    return {key: next(one for one in made if (one["kind"], one["metadata"]["name"]) == key)}


def test_what_the_secret_lacks_is_recreated_and_the_rest_is_kept() -> None:
    first = decide(VALKEY).credentials
    assert first is not None
    there = stored(first)
    assert decide(VALKEY, there).credentials == first
    del there["Secret", "demo-bus"]["data"]["metrics-password"]
    del there["Secret", "demo-bus"]["data"]["tls.key"]
    again = decide(VALKEY, there).credentials
    assert again is not None
    assert (again.password, again.pair.authority) == (first.password, first.pair.authority)
    assert again.metrics_password != first.metrics_password
    assert again.pair.server != first.pair.server


def test_valkey_knows_passwords_by_their_hashes_and_its_default_user_is_off() -> None:
    data = stored(BUS_CREDENTIALS)["Secret", "demo-bus"]["data"]
    users = base64.b64decode(data["users.acl"]).decode()
    assert users.startswith("user default off\n")
    assert not {BUS_CREDENTIALS.password, BUS_CREDENTIALS.metrics_password} & set(re.split(r"[\s#]", users))
    assert BUS_CREDENTIALS.password not in repr(BUS_CREDENTIALS)


def test_a_new_password_restarts_valkey_and_reaches_running_servers() -> None:
    running = Observed({}, (pod("a", "chatserver", credentials_digest=None),))
    before, after = (
        desired(cluster(**VALKEY), bus=bus.DesiredBus(TWO, pods=2, credentials=credentials))
        for credentials in (BUS_CREDENTIALS, dataclasses.replace(BUS_CREDENTIALS, password="another"))
    )
    templates = [
        {one["metadata"]["name"]: one["spec"]["template"] for one in render(made) if "template" in one.get("spec", {})}
        for made in (before, after)
    ]
    assert {name for name in templates[0] if templates[0][name] != templates[1][name]} == {"demo-bus"}
    assert stale_mounts(before, running, ()) != stale_mounts(after, running, ())
    assert stale_mounts(before, running, ()).keys() == {"a"}
    # A Secret that could not be written is not announced.
    unwritten = {("Secret", "demo-bus")}
    assert stale_mounts(before, running, unwritten) == stale_mounts(after, running, unwritten)


def test_an_external_bus_needs_a_secret() -> None:
    with pytest.raises(SpecError, match=r"bus\.external\.secretName"):
        parse(body(bus={"type": "External"}))
    assert parse(body(bus={"external": {"secretName": "later"}})).bus.external_secret_name is None


def test_an_older_release_that_runs_has_only_its_own_bus() -> None:
    old = {"chatserver": "a", "postgres": "b", "haproxy": "c"}
    pinned = {**body(), "status": {"version": "0", "images": old}}
    assert release.decide(cluster(), pinned, SETTINGS).images.valkey == ""
    with pytest.raises(SpecError, match=r"bus\.type: .*set version"):
        release.decide(cluster(**VALKEY), pinned, SETTINGS)
    known = {**pinned, "status": {"version": "0", "images": {**old, "valkey": "d"}}}
    assert release.decide(cluster(**VALKEY), known, SETTINGS).images.valkey == "d"


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "no key urls"),
        ({"urls": " "}, "Key urls .* is empty"),
        ({"urls": "http://a"}, "Key urls .* valkey://"),
        ({"urls": "valkey://a:x"}, "Key urls .* port cannot be read"),
        ({"urls": "valkey://chat:hidden@a"}, "Key urls .* move them to the keys username and password"),
        ({"urls": "valkey://a,valkey://a:6379"}, "Key urls .* twice"),
        ({"urls": "valkey://a/hidden"}, "Key urls .* the key prefix"),
        ({"urls": "valkey://a hidden"}, "Key urls .* blank"),
        ({"urls": "valkey://a", "username": "chat"}, "Key username .* needs the key password"),
        ({"urls": "valkey://a", "password": "hidden\nhidden"}, "Key password .* one line"),
        ({"urls": "valkey://a", "prefix": "x" * 600}, "Key prefix .* one line"),
        ({"urls": "valkeys://a", "ca.crt": CERTIFICATE}, "Key ca.crt .* no PEM certificates"),
    ],
)
def test_each_fault_of_the_secret_names_its_key_and_shows_nothing_of_it(content: dict[str, str], named: str) -> None:
    with pytest.raises(BusSecretError, match=named) as raised:
        judge("theirs", secret("theirs", **content), default_prefix="chat.demo")
    assert "Secret theirs" in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_a_secret_that_does_not_exist_is_a_fault() -> None:
    with pytest.raises(BusSecretError, match=r"Secret theirs of bus\.external\.secretName is missing"):
        judge("theirs", None, default_prefix="chat.demo")


@pytest.mark.parametrize(
    "urls",
    [
        *("valkey://a", "redis://a:1", "valkeys://[::1]:7, rediss://b", "valkey://a,", "valkey://A,valkey://b/"),
        *(
            "",
            "a",
            "valkey://",
            "valkey://a:99999",
            "valkey://a?x",
            "http://a",
            "valkey://u@a",
            "valkey://a,valkey://a",
        ),
    ],
)
def test_the_operator_accepts_the_urls_that_chatservers_accept(urls: str) -> None:
    try:
        settings = read_bus_settings({"CHAT_BUS_TYPE": "Valkey", "CHAT_BUS_URLS": urls})
    except SettingsError:
        with pytest.raises(busurls.UrlsError):
            busurls.read(urls)
    else:
        found = busurls.read(urls)
        assert found.ports == tuple(sorted({address.port for address in settings.bus_urls}))
        again = read_bus_settings({"CHAT_BUS_TYPE": "Valkey", "CHAT_BUS_URLS": found.text})
        assert again.bus_urls == settings.bus_urls


def test_chats_that_share_a_valkey_without_a_prefix_are_kept_apart() -> None:
    assert dict(THEIRS.variables)["CHAT_BUS_PREFIX"] == "chat.demo"


def test_the_rights_of_chatservers_are_those_that_the_page_lists() -> None:
    (listed,) = re.findall(r"An ACL user needs `([^`]+)`", (ROOT / "docs" / "operations" / "bus.md").read_text())
    assert f"-@all {listed}" == RIGHTS


def test_what_servers_have_is_read_from_their_template() -> None:
    for used in (access.POSTGRESQL, TWO, THEIRS):
        assert access.live(servers(used)["Deployment", "demo-chatserver"]) == used


def bus_ready(spec: dict[str, Any], made: DesiredBus, *children: dict[Any, Any], **hears: bool | None) -> Any:
    there = dict(itertools.chain.from_iterable(each.items() for each in children))
    readings = {name: Reading(1, draining=False, hears_bus=value) for name, value in hears.items()}
    pods = tuple(pod(name, "chatserver") for name in hears)
    inputs = ConditionInputs(
        body=body(**spec),
        observed=Observed(there, pods, readings=readings),
        answer=Answer(ok=True, message="answered"),
        now=NOW,
        desired=desired(cluster(**spec), bus=made),
    )
    found = {one.type: one for one in conditions(inputs)}
    assert found["Ready"].status == "True"
    return found["BusReady"]


@pytest.mark.parametrize(
    ("spec", "children", "hears", "expected", "words"),
    [
        ({}, [], {}, ("Unknown", "Unreported"), "No chatserver reports"),
        # A release that does not report it.
        ({}, [], {"a": None}, ("Unknown", "Unreported"), "No chatserver reports"),
        ({}, [], {"a": True, "b": True}, ("True", "Connected"), "PostgreSQL"),
        ({}, [], {"a": True, "b": False}, ("False", "Disconnected"), "1 of 2 chatservers .*: b. .* 10 s late"),
        (VALKEY, [], {"a": True}, ("False", "Missing"), "StatefulSet demo-bus does not exist yet"),
        (VALKEY, [valkeys(2)], {"a": True}, ("True", "Connected"), "Valkey"),
        (VALKEY, [valkeys(2, ready=1)], {"a": True}, ("False", "PartlyReady"), "1 of 2 bus pods .* 10 s late"),
        (VALKEY, [valkeys(2, ready=0)], {"a": True}, ("False", "NotReady"), "0 of 2"),
    ],
)
def test_the_condition_says_what_is_slower_and_ready_stays_true(
    spec: dict[str, Any], children: list[Any], hears: Any, expected: tuple[str, str], words: str
) -> None:
    made = decide(spec, servers(TWO if spec else access.POSTGRESQL), *children)
    found = bus_ready(spec, made, *children, **hears)
    assert (found.status, found.reason) == expected
    assert re.search(words, found.message)


def test_a_wrong_secret_is_reported_and_says_that_servers_keep_their_bus() -> None:
    made = decide(EXTERNAL, servers(access.POSTGRESQL))
    found = bus_ready(EXTERNAL, made, a=True)
    assert (found.status, found.reason) == ("False", "BusSecretInvalid")
    assert re.search(r"Secret theirs .* create it .* Chatservers keep the bus that they have", found.message)
