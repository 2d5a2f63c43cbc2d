"""What the API server refused is told with the object, the field of the spec and what to do: all of it."""

from __future__ import annotations

import pytest

from chatoperator.errors import KubeError
from chatoperator.reporting.refusals import WORDS_LENGTH_MAX, words


def refused(path: str, reason: str, status: int = 422) -> KubeError:
    path = f"/apis/x/v1/namespaces/chat/{path}"
    return KubeError(f"PATCH {path}: {reason}", status, path=path, reason=reason)


def denied(policy: str, message: str) -> str:
    name = f"chatcluster-operator.chatcluster-system.{policy}"
    return f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: {message}"


TOO_LARGE = (
    'spec.template.spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit'
)


@pytest.mark.parametrize(
    ("path", "reason", "status", "told"),
    [
        (
            "deployments/demo-chatserver",
            f'Deployment.apps "demo-chatserver" is invalid: {TOO_LARGE}',
            422,
            f"{TOO_LARGE}. Correct spec.chatserver.resources; all other objects are applied",
        ),
        ("statefulsets/demo-postgres", TOO_LARGE, 422, "StatefulSet demo-postgres (spec.database.resources): "),
        ("deployments/demo-ingress", TOO_LARGE, 422, "Deployment demo-ingress (spec.ingress.resources): "),
        (
            "jobs/demo-migrate-0123456789",
            "spec.template.spec.tolerations[0].operator: Unsupported value",
            422,
            "Job demo-migrate-0123456789 (spec.chatserver.migration.podTemplate or chatserver.podTemplate): ",
        ),
        (
            "deployments/demo-ingress",
            "spec.template.spec.tolerations[0].operator: Unsupported value",
            422,
            "Deployment demo-ingress (spec.ingress.podTemplate): ",
        ),
        (
            "deployments/demo-ingress",
            "spec.template.annotations: Invalid value",
            422,
            "Deployment demo-ingress (spec.ingress.podTemplate): ",
        ),
        ("services/demo-ingress", "metadata.annotations: Invalid value", 422, "(spec.ingress.service.annotations): "),
        (
            "statefulsets/demo-postgres",
            "spec.template.spec.affinity: Invalid value",
            422,
            "StatefulSet demo-postgres (spec.database.podTemplate): ",
        ),
        (
            "services/demo-ingress",
            'Service "demo-ingress" is invalid: spec.ports[0].nodePort: Invalid value: 30443: is already allocated',
            422,
            "Service demo-ingress (spec.ingress.service.nodePort): spec.ports[0].nodePort: Invalid value: 30443",
        ),
        (
            "persistentvolumeclaims/demo-postgres-data",
            'persistentvolumeclaims "demo-postgres-data" is forbidden: exceeded quota: full, requested: count=1',
            403,
            "requested: count=1. Change the quota, policy or webhook that rejects it, or correct spec.database.storage",
        ),
        (
            "persistentvolumeclaims/demo-postgres-data",
            "spec: Forbidden: spec is immutable after creation except resources.requests",
            422,
            "Restore the old value of spec.database.storage",
        ),
        (
            "services/demo-chatserver",
            'Service "demo-chatserver" is invalid: spec.clusterIPs[0]: Invalid value: []: field is immutable',
            422,
            "delete Service demo-chatserver: the operator recreates it",
        ),
        (
            "secrets/demo-database",
            'secrets "demo-database" is forbidden: User "system:serviceaccount:a:b" cannot patch resource "secrets"',
            403,
            "upgrade its Helm chart to the release of the operator",
        ),
        (
            "secrets/demo-database",
            'Secret "demo-database" is invalid: data: Forbidden: field is immutable when `immutable` is set',
            422,
            "kubectl get secret demo-database -n chat -o yaml | sed '/^immutable:/d' | kubectl replace --force -f -",
        ),
        (
            "statefulsets/demo-postgres",
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
            422,
            "Delete StatefulSet demo-postgres: the operator recreates it on the same volume",
        ),
        (
            "services/demo-ingress",
            "spec.ipFamilies[0]: Invalid value: IPv6: primary ipFamily can not be changed",
            422,
            "delete Service demo-ingress: the operator recreates it",
        ),
        (
            "services/demo-chatserver",
            denied("services", "a Service of a chat must not have externalIPs or an externalName"),
            422,
            "Another user or program has set that in Service demo-chatserver: delete it, and the operator recreates it",
        ),
        (
            "deployments/demo-chatserver",
            denied("workloads", "pods of a chat must not share network, processes or IPC with their node"),
            422,
            "Remove what another user or program has set in Deployment demo-chatserver, or correct the spec",
        ),
        (
            "secrets/demo-database",
            denied("secrets", "the operator sets no annotations of Secrets but chatcluster.io/*"),
            422,
            "Remove what another user or program has set in Secret demo-database",
        ),
        (
            "deployments/demo-chatserver",
            "ValidatingAdmissionPolicy 'no-latest' with binding 'all' denied request: images need a digest",
            403,
            "Change the quota, policy or webhook that rejects it, or correct the spec",
        ),
        ("configmaps/demo-postgres", "TimeoutError: ", 0, "The API server did not answer; the operator retries"),
        ("configmaps/demo-postgres", "Operation cannot be fulfilled", 409, "metadata.managedFields names it"),
    ],
)
def test_a_refusal_names_object_field_and_remedy(path: str, reason: str, status: int, told: str) -> None:
    made = words([refused(path, reason, status)])
    assert told in made
    assert "PATCH" not in made


def test_all_refusals_are_told_each_once_and_none_hides_the_others() -> None:
    parts = [refused(f"deployments/demo-{part}", TOO_LARGE) for part in ("chatserver", "ingress")]
    made = words([*parts, *parts, refused("statefulsets/demo-postgres", "x" * 5000)])
    for name in ("Deployment demo-chatserver", "Deployment demo-ingress", "StatefulSet demo-postgres"):
        assert made.count(name) == 1
    assert len(made) < WORDS_LENGTH_MAX + 100
    many = words([refused(f"services/demo-{number}", "x" * 500) for number in range(30)])
    assert "Service demo-0" in many
    assert many.endswith("; and 25 more")


def test_an_error_that_is_about_no_object_is_told_as_it_is() -> None:
    assert words([KubeError("GET /api: gone", 500)]) == "GET /api: gone"
