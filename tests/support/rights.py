"""The chart's rights and admission policies on the tests' API server, for the users that stand for its operator."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.support.apiserver import OPERATOR_USER, RELEASE_USER
from tests.support.chart import render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.apiserver import ApiServer

ROLES = frozenset({"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})

POLICIES = frozenset({"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"})

LAST = ".children"
"""The policy by which in_force() sees that all of them are."""

IN_FORCE_SECONDS = 30
"""The API server compiles a new policy within a second or two."""


def install(server: ApiServer) -> None:
    """The rights of README's release, and its policies, which here bind the operator processes' user as well."""
    made = render()
    apply(server, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chatcluster-system"}}])
    roles = [document for document in made if document["kind"] in ROLES]
    for role in roles:
        if role["kind"].startswith("ClusterRole"):
            # Of its own: other tests install and remove releases of the same name.
            role["metadata"]["name"] = "release-of-the-tests"
            role.get("roleRef", {})["name"] = "release-of-the-tests"
    apply(server, roles)
    policies = policies_of(made)
    for policy in policies:
        for condition in policy["spec"].get("matchConditions", []):
            if condition["name"] == "operator":
                condition["expression"] = f"request.userInfo.username in ['{RELEASE_USER}', '{OPERATOR_USER}']"
    apply(server, policies)
    in_force(server, RELEASE_USER, "kube-system")


def policies_of(made: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The policies among the chart's objects, in the order in which in_force() wants them applied."""
    found = [document for document in made if document["kind"] in POLICIES]
    # The API server takes them up in the order in which they came: where the last one is in force, all are.
    return sorted(found, key=lambda policy: policy["metadata"]["name"].endswith(LAST))


def apply(server: ApiServer, items: Iterable[dict[str, Any]]) -> None:
    """Apply objects as the admin."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})
    done = server.run_kubectl("apply", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def in_force(server: ApiServer, user: str, namespace: str) -> None:
    """Wait until the API server has taken up every policy that binds a user.

    Args:
        server: The API server.
        user: Whom they bind, who may create ConfigMaps in `namespace` as far as Roles are concerned.
        namespace: Where the policies refuse everything to that user.
    """
    deadline = time.monotonic() + IN_FORCE_SECONDS
    while time.monotonic() < deadline:
        done = server.run_kubectl(
            "create", "configmap", "try", "--dry-run=server", f"--as={user}", "-n", namespace, "-o", "name"
        )
        if f"{LAST}'" in done.stderr:
            return
    raise AssertionError(f"the policies do not bind {user}: {done.stdout}{done.stderr}")
