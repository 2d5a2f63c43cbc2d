"""The operator's token in a thief's hands: what its Roles grant, the chart's admission policies refuse.

Each attempt is one change to an object that the operator may make, which the API server is shown to accept without it.
"""

from __future__ import annotations

import copy
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from chatoperator.api.parse import parse
from chatoperator.desired import manifests
from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.parts.credentials import Certificate, Issued
from chatoperator.parts.ingress.tls.serving import Serving
from tests.support import crds, rights
from tests.support.apiserver import RELEASE_TOKEN, RELEASE_USER
from tests.support.chart import CHART, render
from tests.support.chatclusters import SELF_SIGNED, THREE, body, desired
from tests.support.thief import Thief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.apiserver import ApiServer

    Manifest = dict[str, Any]
    Change = Callable[[Manifest], None]

pytestmark = pytest.mark.integration

REFUSED = "ValidatingAdmissionPolicy"

PATIENCE_SECONDS = 60

RBAC_REFUSALS = ("is attempting to grant RBAC permissions not currently held", "404: rolebindings.rbac")
"""Kubernetes' own: nobody grants what they do not have, or a Role that does not exist."""

WORKLOADS = (("Deployment", "demo-chatserver"), ("StatefulSet", "demo-postgres"), ("Job", "demo-migrate"))


def children(namespace: str) -> dict[tuple[str, str], Manifest]:
    """Every kind of object that the operator makes, by kind and name; the Job's without its digest."""
    issuer = {"mode": "CertManager", "issuerRef": {"name": "ours"}}
    ingress = {"hostnames": ["chat.example.com"], "tls": issuer}
    fronts = ({"kind": "Ingress"}, {"kind": "HTTPRoute", "parentRefs": [{"name": "public"}]})
    made: dict[tuple[str, str], Manifest] = {}
    for front in fronts:
        monitoring = {"probe": {"enabled": True}}
        given = {**ingress, "front": front}
        more: dict[str, Any] = {"bus": {"type": "Valkey"}}
        restore = {"from": {"chatCluster": {"name": "old"}}}
        backup: dict[str, Any] = {"repository": {"volume": {}}, "drill": {}}
        more["database"] = {"instances": 3, "backup": backup, "restore": restore}
        spec = body(namespace=namespace, ingress=given, monitoring=monitoring, **more)
        chatcluster = parse(spec)
        issued = Issued(Certificate("certificate\n", "key\n"), None)
        serving = Serving(self_signed=SELF_SIGNED, issued=issued, certificate_uid="0000-certificate")
        for manifest in manifests.render(
            desired(chatcluster, serving=serving, served={CERTIFICATE, ROUTE}, replication=THREE)
        ):
            name = manifest["metadata"]["name"]
            made[manifest["kind"], "demo-migrate" if manifest["kind"] == "Job" else name] = manifest
    return made


# Changes to a manifest. `pod` is what a workload's pods are made from.


def pod(manifest: Manifest) -> Manifest:
    found: Manifest = manifest["spec"]["template"]["spec"]
    return found


def container(manifest: Manifest) -> Manifest:
    found: Manifest = pod(manifest)["containers"][0]
    return found


def in_pod(**fields: Any) -> Change:
    return lambda manifest: pod(manifest).update(fields)


def in_pod_security(**fields: Any) -> Change:
    return lambda manifest: pod(manifest)["securityContext"].update(fields)


def in_container(**fields: Any) -> Change:
    return lambda manifest: container(manifest).update(fields)


def in_security(**fields: Any) -> Change:
    return lambda manifest: container(manifest)["securityContext"].update(fields)


def volume(**source: Any) -> Change:
    return lambda manifest: pod(manifest)["volumes"].append({"name": "more", **source})


def scratch(**fields: Any) -> Change:
    """Changes the claim of the backup pod's scratch volume."""

    def change(manifest: Manifest) -> None:
        (found,) = [one for one in pod(manifest)["volumes"] if "ephemeral" in one]
        found["ephemeral"]["volumeClaimTemplate"]["spec"].update(fields)

    return change


def in_spec(**fields: Any) -> Change:
    return lambda manifest: manifest["spec"].update(fields)


def in_metadata(**fields: Any) -> Change:
    return lambda manifest: manifest["metadata"].update(fields)


def label(name: str, value: str | None) -> Change:
    def change(manifest: Manifest) -> None:
        if value is None:
            del manifest["metadata"]["labels"][name]
        else:
            manifest["metadata"]["labels"][name] = value

    return change


def pod_annotation(name: str, value: str) -> Change:
    def change(manifest: Manifest) -> None:
        annotations = manifest["spec"]["template"]["metadata"].setdefault("annotations", {})
        annotations[name.replace("CONTAINER", container(manifest)["name"])] = value

    return change


def without(*path: str) -> Change:
    def change(manifest: Manifest) -> None:
        *above, last = path
        for key in above:
            manifest = manifest[key]
        del manifest[last]

    return change


def rule(**fields: Any) -> Change:
    return lambda manifest: manifest["rules"].append({"apiGroups": [""], **fields})


def second_container(manifest: Manifest) -> None:
    """An init container with a privilege, behind one that has none."""
    made = {"name": "init", "image": "busybox", "securityContext": {"privileged": True}}
    pod(manifest)["initContainers"] = [made]


def sidecar(manifest: Manifest) -> None:
    pod(manifest)["containers"].append({"name": "bare", "image": "busybox"})


def adopting(manifest: Manifest) -> None:
    """Pods with the labels of another chat, which its Services would find."""
    wanted = {"app.kubernetes.io/instance": "other"}
    manifest["spec"]["template"]["metadata"]["labels"].update(wanted)
    if "selector" in manifest["spec"]:
        manifest["spec"]["selector"]["matchLabels"].update(wanted)


CLAIM_SPEC: Manifest = {
    "accessModes": ["ReadWriteOnce"],
    "volumeName": "others",
    "resources": {"requests": {"storage": "1Gi"}},
}

EMPTY_CLAIM: Manifest = {key: value for key, value in CLAIM_SPEC.items() if key != "volumeName"}

ALL_PODS: Manifest = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}, "namespaceSelector": {}}

POD_CHANGES: dict[str, Change] = {
    "the host's network": in_pod(hostNetwork=True),
    "the host's processes": in_pod(hostPID=True),
    "the host's IPC": in_pod(hostIPC=True),
    "names of hosts": in_pod(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["kubernetes.default"]}]),
    "another service account": in_pod(serviceAccountName="cluster-admin"),
    "the same by its old name": in_pod(serviceAccount="cluster-admin", serviceAccountName="cluster-admin"),
    "a token": in_pod(automountServiceAccountToken=True),
    "a token by default": without("spec", "template", "spec", "automountServiceAccountToken"),
    "a node of its choice": in_pod(nodeName="control-plane"),
    "a system priority": in_pod(priorityClassName="system-node-critical"),
    "another runtime": in_pod(runtimeClassName="nvidia"),
    "a device": in_pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}]),
    "root": in_pod_security(runAsUser=0),
    "root in a container": in_security(runAsUser=0),
    "perhaps root": in_pod_security(runAsNonRoot=False),
    "perhaps root in a container": in_security(runAsNonRoot=False),
    "no seccomp": in_pod_security(seccompProfile={"type": "Unconfined"}),
    "seccomp left open": without("spec", "template", "spec", "securityContext", "seccompProfile"),
    "no seccomp in a container": in_security(seccompProfile={"type": "Unconfined"}),
    "no AppArmor": in_pod_security(appArmorProfile={"type": "Unconfined"}),
    "no AppArmor in a container": in_security(appArmorProfile={"type": "Unconfined"}),
    "no AppArmor by annotation": pod_annotation(
        "container.apparmor.security.beta.kubernetes.io/CONTAINER", "unconfined"
    ),
    "SELinux's super type": in_pod_security(seLinuxOptions={"type": "spc_t"}),
    "SELinux's super type in a container": in_security(seLinuxOptions={"type": "spc_t"}),
    "a sysctl": in_pod_security(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    "privileges": in_security(privileged=True, allowPrivilegeEscalation=True),
    "an escalation": in_security(allowPrivilegeEscalation=True),
    "an escalation by default": lambda made: container(made)["securityContext"].pop("allowPrivilegeEscalation"),
    "a capability": in_security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "capabilities by default": in_security(capabilities={}),
    "no security context": lambda made: container(made).pop("securityContext"),
    "all of /proc": lambda made: (in_pod(hostUsers=False)(made), in_security(procMount="Unmasked")(made))[0],
    "a privileged init container": second_container,
    "a bare second container": sidecar,
    "a port of the node": in_container(ports=[{"containerPort": 8080, "hostPort": 8080}]),
    "a probe elsewhere": in_container(livenessProbe={"httpGet": {"host": "169.254.169.254", "path": "/", "port": 80}}),
    "a hook elsewhere": in_container(lifecycle={"preStop": {"httpGet": {"host": "192.0.2.1", "port": 80}}}),
    "a folder of the node": volume(hostPath={"path": "/"}),
    "a projected token for others": volume(
        projected={"sources": [{"serviceAccountToken": {"path": "token", "audience": "vault"}}]}
    ),
    "a token for a day": volume(
        projected={"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 86_400}}]}
    ),
    "an identity's certificate": volume(
        projected={"sources": [{"clusterTrustBundle": {"name": "x", "path": "x", "optional": True}}]}
    ),
    "a volume of its own making": volume(
        ephemeral={"volumeClaimTemplate": {"spec": CLAIM_SPEC}},
    ),
    "a share of the network": volume(nfs={"server": "192.0.2.1", "path": "/"}),
    "a driver's volume": volume(csi={"driver": "secrets-store.csi.k8s.io"}),
    "another claim": volume(persistentVolumeClaim={"claimName": "others"}),
    "a further network": pod_annotation("k8s.v1.cni.cncf.io/networks", "host-network"),
    "another network": pod_annotation("v1.multus-cni.io/default-network", "kube-system/host"),
    "devices of CRI-O": pod_annotation("io.kubernetes.cri-o.Devices", "/dev/sda"),
    "devices of CRI-O by their later name": pod_annotation("devices.crio.io", "/dev/sda"),
    "devices of containerd": pod_annotation("cdi.k8s.io/disk", "example.com/disk=all"),
    "settings of a runtime": pod_annotation("io.katacontainers.config.hypervisor.path", "/bin/sh"),
    "a runtime for others": pod_annotation("io.kubernetes.cri.untrusted-workload", "true"),
    "a sidecar's volume": pod_annotation("sidecar.istio.io/userVolume", '[{"name":"x","hostPath":{"path":"/"}}]'),
    "the taint of every node": in_pod(tolerations=[{"operator": "Exists"}]),
    "pods of all namespaces kept away": in_pod(
        affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [ALL_PODS]}}
    ),
    "pods of another namespace followed": in_pod(
        affinity={
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "namespaces": ["kube-system"]},
                    }
                ]
            }
        }
    ),
    "labels of another chat": adopting,
}
"""What a workload's pods must not have."""

CLAIM = {"metadata": {"name": "more"}, "spec": CLAIM_SPEC}

FOREIGN = {"app.kubernetes.io/name": "bank"}

OBJECT_CHANGES: dict[tuple[str, str], dict[str, Change]] = {
    ("StatefulSet", "demo-postgres"): {"claims past their policy": in_spec(volumeClaimTemplates=[CLAIM])},
    ("Deployment", "demo-ingress"): {
        "pods without end": in_spec(replicas=100_000),
        "a token of the API server": volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
        "the database's account": in_pod(serviceAccountName="demo-postgres"),
        "the claim of another chat": volume(persistentVolumeClaim={"claimName": "demo2-postgres-data"}),
        "the repository of the backups": volume(persistentVolumeClaim={"claimName": "demo-backup-data"}),
    },
    ("StatefulSet", "demo-backup"): {
        "the repository of another chat": volume(persistentVolumeClaim={"claimName": "demo2-backup-data"}),
        "the account of the database": in_pod(serviceAccountName="demo-postgres"),
        "a second repository": in_metadata(name="demo-backup-6"),
        "a scratch volume that others have filled": scratch(volumeName="others"),
        "a scratch volume with a copy": scratch(
            dataSource={"kind": "PersistentVolumeClaim", "name": "demo-postgres-data"}
        ),
        "a scratch volume by its labels": scratch(selector={"matchLabels": {"a": "b"}}),
        "a second scratch volume": volume(ephemeral={"volumeClaimTemplate": {"spec": EMPTY_CLAIM}}),
    },
    ("ServiceAccount", "demo-postgres"): {
        "rights in a cloud": in_metadata(annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}),
        "its token in every pod": lambda made: made.update(automountServiceAccountToken=True),
        "its token by default": lambda made: made.pop("automountServiceAccountToken"),
        "a Secret": lambda made: made.update(secrets=[{"name": "demo-database"}]),
        "a registry": lambda made: made.update(imagePullSecrets=[{"name": "demo-database"}]),
        "the name of another part": in_metadata(name="demo-chatserver"),
    },
    ("Role", "demo-postgres"): {
        "Secrets": rule(resources=["secrets"], verbs=["list"]),
        "all pods": rule(resources=["pods"], verbs=["patch"]),
        "other pods": rule(resources=["pods"], verbs=["patch"], resourceNames=["demo-chatserver-0"]),
        "new ConfigMaps": rule(resources=["configmaps"], verbs=["create"]),
        "other ConfigMaps": rule(resources=["configmaps"], verbs=["get"], resourceNames=["demo-ingress"]),
        "workloads": rule(apiGroups=["apps"], resources=["statefulsets"], verbs=["list"]),
    },
    ("RoleBinding", "demo-postgres"): {
        "another Role": lambda made: made["roleRef"].update(name="demo-other"),
        "a ClusterRole": lambda made: made["roleRef"].update(kind="ClusterRole", name="view"),
        "another account": lambda made: made["subjects"][0].update(name="default"),
        "another namespace": lambda made: made["subjects"][0].update(namespace="kube-system"),
        "a user": lambda made: made.update(
            subjects=[{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}]
        ),
        "one more": lambda made: made["subjects"].append({"kind": "ServiceAccount", "name": "x", "namespace": "x"}),
    },
    ("Job", "demo-migrate"): {"pods without end": in_spec(parallelism=100_000, completions=100_000)},
    ("Secret", "demo-chatserver"): {
        "a service account's token": lambda made: (
            made.update(type="kubernetes.io/service-account-token", data={}),
            in_metadata(annotations={"kubernetes.io/service-account.name": "default"})(made),
        )[1],
        "a bootstrap token": lambda made: made.update(type="bootstrap.kubernetes.io/token"),
        "a Helm release": lambda made: made.update(type="helm.sh/release.v1"),
        "a copy for all namespaces": in_metadata(annotations={"reflector.v1.k8s.emberstack.com/reflection-auto": "1"}),
    },
    ("Service", "demo-ingress"): {
        "foreign addresses": in_spec(externalIPs=["8.8.8.8"]),
        "a foreign name": lambda made: made.update(spec={"type": "ExternalName", "externalName": "kubernetes.default"}),
        "foreign pods": in_spec(selector=FOREIGN),
        "no pods": in_spec(selector=None),
        "configuration": in_metadata(annotations={"getambassador.io/config": "apiVersion: getambassador.io/v1"}),
    },
    ("NetworkPolicy", "demo-ingress"): {
        "all pods": in_spec(podSelector={}),
        "foreign pods": in_spec(podSelector={"matchLabels": FOREIGN}),
        "pods of no chat": in_spec(podSelector={"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
    },
    ("PodDisruptionBudget", "demo-ingress"): {
        "all pods": in_spec(selector={}),
        "foreign pods": in_spec(selector={"matchLabels": FOREIGN}),
    },
    ("PersistentVolumeClaim", "demo-postgres-data"): {
        "a volume of its choice": in_spec(volumeName="others"),
        "a volume by its labels": in_spec(selector={"matchLabels": {"app": "bank"}}),
        "another's data": in_spec(dataSource={"kind": "PersistentVolumeClaim", "name": "others"}),
    },
    ("Ingress", "demo-front"): {
        "another Service": lambda made: made["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(
            name="bank"
        ),
        "all hosts": lambda made: made["spec"]["rules"][0].pop("host"),
        "all else": in_spec(defaultBackend={"service": {"name": "bank", "port": {"number": 80}}}),
        "configuration": in_metadata(annotations={"nginx.ingress.kubernetes.io/server-snippet": "return 200;"}),
        "further hosts": in_metadata(annotations={"nginx.ingress.kubernetes.io/server-alias": "bank.example.com"}),
        "a Secret of others": in_metadata(annotations={"nginx.ingress.kubernetes.io/auth-secret": "bank/users"}),
        "a copy of requests": in_metadata(
            annotations={"nginx.ingress.kubernetes.io/mirror-target": "http://192.0.2.1"}
        ),
    },
    ("HTTPRoute", "demo-front"): {
        "another Service": lambda made: made["spec"]["rules"][0]["backendRefs"][0].update(name="bank"),
        "another namespace": lambda made: made["spec"]["rules"][0]["backendRefs"][0].update(namespace="kube-system"),
        "a mirror": lambda made: made["spec"]["rules"][0].update(
            filters=[{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "demo-front", "port": 80}}}]
        ),
        "all hosts": lambda made: made["spec"].pop("hostnames"),
    },
    ("Certificate", "demo-ingress-issued"): {
        "another Secret": in_spec(secretName="bank-tls"),
        "an authority": in_spec(isCA=True),
        "an authority's usage": in_spec(usages=["cert sign"]),
        "a workload's identity": in_spec(uris=["spiffe://cluster.local/ns/bank/sa/default"]),
        "a person's identity": in_spec(emailAddresses=["admin@example.com"]),
        "another's name": in_spec(commonName="kubernetes-admin"),
        "a group": in_spec(subject={"organizations": ["system:masters"]}),
        "a group by its text": in_spec(literalSubject="CN=kubernetes-admin,O=system:masters"),
        "addresses": in_spec(ipAddresses=["10.96.0.1"]),
        "usages by default": lambda made: made["spec"].pop("usages"),
        "a Secret that is copied": lambda made: made["spec"]["secretTemplate"].update(annotations={"copy": "yes"}),
    },
}
"""What an object of one kind must not have."""

ALL_CHANGES: dict[str, Change] = {
    "kube-system": in_metadata(namespace="kube-system"),
    "kube-public": in_metadata(namespace="kube-public"),
    "no label": label("app.kubernetes.io/managed-by", None),
    "a label that others act on": label("grafana_dashboard", "1"),
    "a name of no chat": in_metadata(name="web-proxy"),
    "a name of no part": in_metadata(name="demo-proxy"),
    "no owner": lambda made: made["metadata"].pop("ownerReferences", None),
    "another owner": lambda made: made["metadata"].update(
        ownerReferences=[{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "0000", "controller": True}]
    ),
    "a second owner": lambda made: (
        made["metadata"]
        .setdefault("ownerReferences", [])
        .append({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0000"})
    ),
    "the ChatCluster of another name": lambda made: (
        made["metadata"]
        .setdefault("ownerReferences", [])
        .append({"apiVersion": "chatcluster.io/v1alpha1", "kind": "ChatCluster", "name": "other", "uid": "0000"})
    ),
    "another chat": label("app.kubernetes.io/instance", "dem"),
    "a finalizer": in_metadata(finalizers=["example.com/never"]),
}
"""What no object may have."""

OWNERLESS = {"Secret", "PersistentVolumeClaim"}
"""Kinds that may outlive their ChatCluster."""


IN_BOTH_MODES = pytest.mark.parametrize("thief", ["cluster-wide", "namespaced"], indirect=True)


@pytest.fixture(scope="module")
def with_all_kinds(server: ApiServer) -> Iterator[None]:
    with crds.installed(server, *crds.CERTIFICATES), crds.installed(server, *crds.ROUTES):
        yield


@pytest.fixture
def thief(request: pytest.FixtureRequest, server: ApiServer, namespace: str, with_all_kinds: None) -> Iterator[Thief]:
    """With the token of an operator that serves the namespace, among all or alone."""
    assert with_all_kinds is None
    if getattr(request, "param", "cluster-wide") == "cluster-wide":
        with Thief(server, RELEASE_TOKEN) as stolen:
            yield stolen
        return
    own = f"{namespace}-system"
    rights.apply(server, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own}}])
    made = render(f"watchNamespaces={{{namespace}}}", namespace=own)
    policies = rights.policies_of(made)
    rights.apply(server, [*(one for one in made if one["kind"] in rights.ROLES), *policies])
    user = f"system:serviceaccount:{own}:chatcluster-operator"
    rights.in_force(server, user, namespace)
    token = server.run_kubectl("create", "token", "chatcluster-operator", "-n", own).stdout.strip()
    with Thief(server, token) as stolen:
        yield stolen
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": policies})
    assert server.run_kubectl("delete", "-f", "-", stdin=text).returncode == 0


def changed(manifest: Manifest, change: Change) -> Manifest:
    made = copy.deepcopy(manifest)
    change(made)
    return made


@IN_BOTH_MODES
def test_only_what_a_chat_is_made_of_can_be_made(server: ApiServer, thief: Thief, namespace: str) -> None:
    made = children(namespace)
    # A RoleBinding needs its Role, and no request here changes anything.
    rights.apply(server, [made["Role", "demo-postgres"]])
    accepted = {key: thief.apply(manifest) for key, manifest in made.items()}
    assert accepted == dict.fromkeys(made, ""), "the operator itself must be able to"
    tries: dict[tuple[str, ...], Manifest] = {}
    for key in WORKLOADS:
        tries |= {(*key, what): changed(made[key], change) for what, change in POD_CHANGES.items()}
    for key, changes in OBJECT_CHANGES.items():
        tries |= {(*key, what): changed(made[key], change) for what, change in changes.items()}
    for key, manifest in made.items():
        for what, change in ALL_CHANGES.items():
            if not (what == "no owner" and key[0] in OWNERLESS):
                tries[*key, what] = changed(manifest, change)
    told = {key: thief.create(manifest) for key, manifest in tries.items()}
    # Elsewhere a Role in each namespace refuses already.
    elsewhere = (REFUSED, "cannot create", *RBAC_REFUSALS)
    assert {key: words for key, words in told.items() if not any(one in words for one in elsewhere)} == {}


@IN_BOTH_MODES
def test_what_others_have_made_can_be_neither_changed_nor_deleted(
    server: ApiServer, thief: Thief, namespace: str
) -> None:
    made = children(namespace)
    foreign = []
    for manifest in made.values():
        theirs = copy.deepcopy(manifest)
        theirs["metadata"] |= {"labels": {"app": "bank"}, "ownerReferences": []}
        foreign.append(theirs)
    rights.apply(server, foreign)
    told: dict[tuple[str, ...], str] = {key: thief.apply(manifest) for key, manifest in made.items()}
    for kind in ("NetworkPolicy", "Ingress", "HTTPRoute", "Certificate", "Job", "Service"):
        told |= {
            (*key, "deleted"): thief.delete(kind, namespace, manifest["metadata"]["name"])
            for key, manifest in made.items()
            if key[0] == kind
        }
    assert {key: words for key, words in told.items() if REFUSED not in words} == {}


def test_of_the_deployments_of_a_chat_only_the_probe_can_be_deleted(
    server: ApiServer, thief: Thief, namespace: str
) -> None:
    made = children(namespace)
    names = ("demo-chatserver", "demo-ingress", "demo-probe")
    rights.apply(server, [made["Deployment", name] for name in names])
    refused = {name: REFUSED in thief.delete("Deployment", namespace, name) for name in names}
    assert refused == {"demo-chatserver": True, "demo-ingress": True, "demo-probe": False}


def test_of_the_stateful_sets_of_a_chat_the_first_database_cannot_be_deleted(
    server: ApiServer, thief: Thief, namespace: str
) -> None:
    made = children(namespace)
    names = ("demo-postgres", "demo-postgres-2", "demo-bus", "demo-backup")
    rights.apply(server, [made["StatefulSet", name] for name in names])
    refused = {name: REFUSED in thief.delete("StatefulSet", namespace, name) for name in names}
    assert refused == {"demo-postgres": True, "demo-postgres-2": False, "demo-bus": False, "demo-backup": False}


def test_what_holds_a_claim_until_its_database_has_ended_stays(server: ApiServer, thief: Thief, namespace: str) -> None:
    claim = children(namespace)["PersistentVolumeClaim", "demo-postgres-data"]
    rights.apply(server, [claim])
    without_protection: Manifest = {"metadata": {"finalizers": []}}
    assert REFUSED in thief.patch("PersistentVolumeClaim", namespace, claim["metadata"]["name"], without_protection)


def test_of_pods_only_annotations_can_be_changed(server: ApiServer, thief: Thief, namespace: str) -> None:
    made = children(namespace)["Deployment", "demo-chatserver"]
    template = made["spec"]["template"]
    ours: Manifest = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
    ours["metadata"] = {"name": "ours", "namespace": namespace, "labels": template["metadata"]["labels"]}
    theirs = {**ours, "metadata": {"name": "theirs", "namespace": namespace, "labels": {"app": "bank"}}}
    rights.apply(server, [ours, theirs])
    mark = {"metadata": {"annotations": {"chatcluster.io/credentials-hash": "1"}}}
    cost = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}}
    for change in (mark, cost):
        assert thief.patch("Pod", namespace, "ours", change) == ""
        assert REFUSED in thief.patch("Pod", namespace, "theirs", change)
    image = {"spec": {"containers": [{**template["spec"]["containers"][0], "image": "evil"}]}}
    changes: tuple[Manifest, ...] = (
        image,
        {"metadata": {"labels": {"app.kubernetes.io/component": "postgres"}}},
        {"metadata": {"annotations": {"example.com/inject": "yes"}}},
        {"metadata": {"finalizers": ["example.com/never"]}},
        {"spec": {"activeDeadlineSeconds": 1}},
        {"spec": {"tolerations": [*template["spec"]["tolerations"], {"operator": "Exists"}]}},
    )
    for change in changes:
        assert REFUSED in thief.patch("Pod", namespace, "ours", change), change


def test_the_policies_fit_the_types_of_what_they_read(server: ApiServer, with_all_kinds: None) -> None:
    """Otherwise an expression fails in place of refusing, or refuses what nobody meant."""
    assert with_all_kinds is None
    with server.controllers("validatingadmissionpolicy-status-controller"):
        found = checked(server)
    assert len(found) >= len(list((CHART / "policies").glob("*.yaml")))
    assert {name: status.get("expressionWarnings") for name, status in found.items()} == dict.fromkeys(found)


def checked(server: ApiServer) -> dict[str, Manifest]:
    """What Kubernetes' type check says of each policy."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        listed = json.loads(server.run_kubectl("get", "validatingadmissionpolicies", "-o", "json").stdout)["items"]
        if listed and all("typeChecking" in policy.get("status", {}) for policy in listed):
            return {policy["metadata"]["name"]: policy["status"]["typeChecking"] for policy in listed}
        time.sleep(0.3)
    raise AssertionError("the type check has not come")


def test_events_are_about_chatclusters_and_there_is_one_lease(thief: Thief, namespace: str) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "demo.1", "namespace": namespace},
        "involvedObject": {"apiVersion": "chatcluster.io/v1alpha1", "kind": "ChatCluster", "namespace": namespace},
        "reason": "Try",
        "message": "try",
    }
    assert thief.create(event) == ""
    assert REFUSED in thief.create({**event, "involvedObject": {"kind": "Pod", "namespace": namespace}})
    system = {**event, "metadata": {"name": "demo.1", "namespace": "kube-system"}}
    assert thief.create(system) != ""
    own = "chatcluster-system"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "other", "namespace": own}}
    assert thief.create(lease) != ""


def test_what_no_role_grants_stays_refused(thief: Thief, namespace: str) -> None:
    here = f"/namespaces/{namespace}"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "more", "namespace": namespace}}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "more"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": RELEASE_USER}],
    }
    policies = "/apis/admissionregistration.k8s.io/v1"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    tries: tuple[tuple[str, str, Manifest | None], ...] = (
        ("POST", f"/api/v1{here}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}),
        ("POST", f"/api/v1{here}/pods/x/exec?command=sh", None),
        ("POST", f"/api/v1{here}/serviceaccounts", account),
        ("POST", f"/api/v1{here}/serviceaccounts/default/token", review),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding),
        ("DELETE", f"{policies}/validatingadmissionpolicies/chatcluster-operator.chatcluster-system.pods", None),
        ("DELETE", f"{policies}/validatingadmissionpolicybindings/chatcluster-operator.chatcluster-system.pods", None),
        ("POST", f"{policies}/mutatingwebhookconfigurations", None),
        ("GET", "/api/v1/nodes", None),
        ("DELETE", f"/api/v1{here}", None),
        ("DELETE", f"/api/v1{here}/secrets/x", None),
        ("DELETE", f"/api/v1{here}/secrets", None),
        ("PUT", f"/apis/chatcluster.io/v1alpha1{here}/chatclusters/demo", None),
        ("DELETE", f"/apis/chatcluster.io/v1alpha1{here}/chatclusters/demo", None),
        ("GET", "/apis/apps/v1/daemonsets", None),
        ("POST", f"/apis/batch/v1{here}/cronjobs", None),
    )
    told = {(method, path): thief.call(method, path, manifest) for method, path, manifest in tries}
    assert {key: words for key, words in told.items() if not words.startswith("403")} == {}
