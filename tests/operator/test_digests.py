"""Rendering: once in a reconcile, and only what the operator sets counts as a difference."""

from __future__ import annotations

import copy

from chatoperator.reconcile.digests import Rendering, content
from chatoperator.reconcile.state import State
from tests.support.chatclusters import cluster, desired

SERVERS = ("Deployment", "demo-chatserver")


def test_each_object_has_a_digest_that_changes_with_its_manifest_alone() -> None:
    before, after = Rendering(desired(cluster())), Rendering(desired(cluster(), replicas=3))
    changed = {one.key for one, other in zip(before.digests, after.digests, strict=True) if one != other}
    assert changed == {SERVERS}
    assert before.digest_of(SERVERS) != after.digest_of(SERVERS)
    assert before.digest_of(("Service", "demo-other")) is None
    assert [one.key for one in before.digests] == [(m["kind"], m["metadata"]["name"]) for m in before.manifests]


def test_a_reconcile_renders_once_and_the_next_one_only_what_it_applies() -> None:
    state = State()
    first = state.rendered(desired(cluster()))
    assert state.rendered(desired(cluster())) is first
    assert first.manifests is first.manifests
    state.free(everything=False)
    again = state.rendered(desired(cluster()))
    assert again is first
    assert again.manifests == Rendering(desired(cluster())).manifests
    state.free(everything=True)
    assert state.rendered(desired(cluster())) is not first


def test_only_fields_that_the_manifest_sets_count() -> None:
    rendering = Rendering(desired(cluster()))
    one = next(one for one in rendering.digests if one.key == SERVERS)
    live = next(m for m in rendering.manifests if (m["kind"], m["metadata"]["name"]) == SERVERS)
    others = copy.deepcopy(live)
    others["status"] = {"readyReplicas": 1}
    others["spec"]["progressDeadlineSeconds"] = 600
    others["metadata"]["labels"]["team"] = "chat"
    others["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "4"
    assert content(others, one) == content(live, one)
    for changed in ("replicas", "template"):
        ours = copy.deepcopy(live)
        ours["spec"][changed] = None
        assert content(ours, one) != content(live, one), changed
    orphaned = copy.deepcopy(live)
    orphaned["metadata"]["ownerReferences"] = []
    assert content(orphaned, one) != content(live, one), "garbage collection would not find it"


def test_what_was_lost_can_be_restored_only_for_the_same_chatcluster() -> None:
    state = State()
    assert state.held("0000-demo") is None
    state.rendered(desired(cluster()))
    held = state.held("0000-demo")
    assert held is not None
    assert (held.key, "authority" in str(held.authority)) == ("key", False)
    assert state.held("0000-another") is None
