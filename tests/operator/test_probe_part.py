"""spec.monitoring.probe: its objects, its tokens, and what is left of both when it is disabled."""

from __future__ import annotations

import base64
import hashlib
import itertools
from typing import Any

import pytest

from chatoperator.api.parse import parse
from chatoperator.desired.manifests import render
from chatoperator.errors import SpecError
from chatoperator.metadata import owner
from chatoperator.observed import Observed
from chatoperator.parts.probe.tokens import ProbeTokens, probe_tokens, secret
from chatoperator.reconcile.cleanup import undesired
from chatserver.storage.probe import VARIABLE, read_token_hashes
from tests.support.chatclusters import body, cluster, desired

ON: dict[str, Any] = {"monitoring": {"probe": {"enabled": True}}}
TOKENS = ("a" * 43, "b" * 43)


def keys(**spec: Any) -> set[tuple[str, str]]:
    return {(one["kind"], one["metadata"]["name"]) for one in render(desired(cluster(**spec)))}


def job_name(**spec: Any) -> str:
    return next(name for kind, name in keys(**spec) if kind == "Job")


def with_secret(content: str | None) -> Observed:
    data = {} if content is None else {"tokens": base64.b64encode(content.encode()).decode()}
    return Observed({("Secret", "demo-probe"): {"metadata": {"name": "demo-probe"}, "data": data}}, ())


def new_tokens(observed: Observed, **spec: Any) -> ProbeTokens | None:
    numbers = itertools.count()
    return probe_tokens(cluster(**spec), observed, lambda: f"{next(numbers):043d}")


def test_a_chat_without_a_probe_has_none_of_its_objects_and_the_migration_it_had() -> None:
    off = {"monitoring": {"probe": {"enabled": False, "intervalSeconds": 60}}}
    assert render(desired(cluster(**off))) == render(desired(cluster()))
    assert not any("probe" in name for _, name in keys())


def test_a_probe_is_a_deployment_a_secret_and_a_policy_and_another_migration() -> None:
    added = keys(**ON) - keys()
    names = {("Deployment", "demo-probe"), ("Secret", "demo-probe"), ("NetworkPolicy", "demo-probe")}
    assert added == names | {("Job", job_name(**ON))}
    assert keys() - keys(**ON) == {("Job", job_name())}


def test_without_policies_the_probe_has_none_either() -> None:
    assert ("NetworkPolicy", "demo-probe") not in keys(**ON, networkPolicies={"enabled": False})


def test_the_tokens_of_the_secret_are_kept_and_their_hashes_enrolled() -> None:
    held = new_tokens(with_secret("\n".join(TOKENS) + "\n"), **ON)
    assert held == ProbeTokens(TOKENS, stored=True)
    assert held.hashes == tuple(hashlib.sha256(token.encode()).hexdigest() for token in TOKENS)
    stored = base64.b64decode(secret(cluster(**ON), held)["data"]["tokens"]).decode()
    assert stored.split() == list(TOKENS)
    assert new_tokens(with_secret(stored), **ON) == held


@pytest.mark.parametrize(
    "content", [None, "", "a\nb\n", "a" * 43, "\n".join([*TOKENS, "c" * 43]), "ä" * 43 + "\n" + "b" * 43]
)
def test_a_secret_without_two_tokens_gets_new_ones_that_are_enrolled_once_they_are_stored(content: str | None) -> None:
    made = new_tokens(with_secret(content), **ON)
    assert made is not None
    assert len(set(made.tokens)) == 2
    assert made.hashes is None, "a Secret that cannot be written would mean other hashes in each reconcile"


def test_without_a_probe_no_token_is_made() -> None:
    assert new_tokens(Observed({}, ())) is None


def test_what_the_job_gets_is_what_the_migrate_command_reads() -> None:
    made = render(desired(cluster(**ON)))
    job = next(one for one in made if one["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    hashes = read_token_hashes({name: str(value) for name, value in given.items()})
    assert f"CHAT_{VARIABLE}" in given
    assert hashes == tuple(hashlib.sha256(token.encode()).digest() for token in TOKENS)
    assert not any(token in str(one) for token in TOKENS for one in made if one["kind"] != "Secret")


def test_secrets_are_shown_by_no_representation() -> None:
    assert not any(token in repr(desired(cluster(**ON))) for token in TOKENS)


def test_a_probe_that_is_disabled_loses_its_deployment_and_policy_and_its_secret_stays() -> None:
    mine = {"ownerReferences": [owner("demo", "0000-demo")]}
    places = [(kind, "demo-probe") for kind in ("Deployment", "Secret", "NetworkPolicy")]
    places += [("Deployment", "demo-chatserver"), ("Deployment", "demo-ingress")]
    children = {(kind, name): {"metadata": {"name": name, "uid": name, **mine}} for kind, name in places}
    gone = undesired(desired(cluster()), Observed(children, ()), ())
    assert gone.keys() == {("Deployment", "demo-probe"), ("NetworkPolicy", "demo-probe")}
    stays = undesired(desired(cluster(**ON)), Observed(children, ()), keys(**ON))
    assert stays == {}


@pytest.mark.parametrize("seconds", [0, 3601, -1])
def test_an_interval_out_of_bounds_names_the_field(seconds: int) -> None:
    with pytest.raises(SpecError, match=r"monitoring\.probe\.intervalSeconds"):
        parse(body(monitoring={"probe": {"enabled": True, "intervalSeconds": seconds}}))
