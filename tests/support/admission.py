"""Admission policies of a cluster's admin that refuse or change objects of one namespace."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Sequence

    from chatoperator.metadata import Manifest
    from tests.support.apiserver import ApiServer

    Done = subprocess.CompletedProcess[str]

KNOWN_WITHIN_TRIES, TRY_SECONDS = 200, 0.1
"""The API server hears of a new rule within moments."""


@contextlib.asynccontextmanager
async def _in_force(
    server: ApiServer, policies: Sequence[Manifest], probe: Sequence[str], is_met: Callable[[Done], bool]
) -> AsyncIterator[None]:
    """Have policies and their bindings in force while this is entered, and no longer.

    Args:
        server: The API server.
        policies: What to create, and to delete afterwards.
        probe: Arguments of a kubectl that changes nothing, and that the policies are about.
        is_met: Whether its result shows that they are in force.
    """

    async def until_met(*, wanted: bool) -> Done:
        for _ in range(KNOWN_WITHIN_TRIES):
            done = server.run_kubectl(*probe)
            if is_met(done) is wanted:
                break
            await asyncio.sleep(TRY_SECONDS)
        return done

    for one in policies:
        done = server.run_kubectl("create", "-f", "-", stdin=json.dumps(one))
        assert done.returncode == 0, done.stderr
    try:
        done = await until_met(wanted=True)
        assert is_met(done), done.stderr
        yield
    finally:
        for one in policies:
            server.run_kubectl("delete", str(one["kind"]), str(one["metadata"]["name"]))
        # A policy goes on for a moment after its deletion, as it takes a moment to begin.
        await until_met(wanted=False)


@contextlib.asynccontextmanager
async def forbidden(server: ApiServer, namespace: str, message: str, *resources: str) -> AsyncIterator[None]:
    """Refuse that resources of the core group, ConfigMaps among them, are made or changed, while this is entered.

    Args:
        server: The API server.
        namespace: Where.
        message: The reason that the API server gives.
        resources: Their plural names.
    """
    name = f"no-{namespace}"
    rules = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [*resources]}
    policy: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [rules],
            },
            "validations": [{"expression": "false", "message": message}],
        },
    }
    binding: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    probe = ("create", "configmap", "probe", "-n", namespace, "--dry-run=server")
    async with _in_force(server, (policy, binding), probe, lambda done: message in done.stderr):
        yield


@contextlib.asynccontextmanager
async def changed_services(server: ApiServer, namespace: str, fields: str) -> AsyncIterator[None]:
    """Change each Service that is made or changed, while this is entered; their sessionAffinity tells that it is.

    Args:
        server: The API server.
        namespace: Where.
        fields: Of their spec, as CEL has them.
    """
    name = f"change-{namespace}"
    rules = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["services"]}
    expression = f'Object{{spec: Object.spec{{sessionAffinity: "ClientIP", {fields}}}}}'
    policy: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1beta1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [rules],
            },
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        },
    }
    binding: Manifest = {
        "apiVersion": "admissionregistration.k8s.io/v1beta1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    probe = ("create", "service", "clusterip", "probe", "--tcp=80", "-n", namespace, "--dry-run=server", "-o", "json")
    async with _in_force(server, (policy, binding), probe, lambda done: '"sessionAffinity": "ClientIP"' in done.stdout):
        yield
