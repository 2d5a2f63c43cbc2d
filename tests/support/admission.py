"""An admission rule of a cluster's admin that refuses objects of one namespace."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chatoperator.manifests.metadata import Manifest
    from tests.support.apiserver import ApiServer

KNOWN_WITHIN_TRIES, TRY_SECONDS = 200, 0.1
"""The API server hears of a new rule within moments."""


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
    for one in (policy, binding):
        done = server.run_kubectl("create", "-f", "-", stdin=json.dumps(one))
        assert done.returncode == 0, done.stderr
    try:
        for _ in range(KNOWN_WITHIN_TRIES):
            probe = server.run_kubectl("create", "configmap", "probe", "-n", namespace, "--dry-run=server")
            if probe.returncode != 0:
                break
            await asyncio.sleep(TRY_SECONDS)
        assert message in probe.stderr
        yield
    finally:
        for one in (policy, binding):
            server.run_kubectl("delete", str(one["kind"]), name)
        # A policy goes on for a moment after its deletion, as it takes a moment to begin.
        for _ in range(KNOWN_WITHIN_TRIES):
            probe = server.run_kubectl("create", "configmap", "probe", "-n", namespace, "--dry-run=server")
            if probe.returncode == 0:
                break
            await asyncio.sleep(TRY_SECONDS)


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
    for one in (policy, binding):
        done = server.run_kubectl("create", "-f", "-", stdin=json.dumps(one))
        assert done.returncode == 0, done.stderr
    probe = ("create", "service", "clusterip", "probe", "--tcp=80", "-n", namespace, "--dry-run=server", "-o", "json")
    try:
        for _ in range(KNOWN_WITHIN_TRIES):
            made = server.run_kubectl(*probe)
            if '"sessionAffinity": "ClientIP"' in made.stdout:
                break
            await asyncio.sleep(TRY_SECONDS)
        assert '"sessionAffinity": "ClientIP"' in made.stdout, made.stderr
        yield
    finally:
        for one in (policy, binding):
            server.run_kubectl("delete", str(one["kind"]), name)
        # A policy goes on for a moment after its deletion, as it takes a moment to begin.
        for _ in range(KNOWN_WITHIN_TRIES):
            if '"sessionAffinity": "ClientIP"' not in server.run_kubectl(*probe).stdout:
                break
            await asyncio.sleep(TRY_SECONDS)
