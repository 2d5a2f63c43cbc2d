"""desired(): golden YAML of whole ChatClusters, and promises that hold for each of them.

After an intended change: `CHATCLUSTER_WRITE_GOLDEN=1 pytest tests/operator/test_manifests.py`, then read the diff.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from chatoperator.api.parse import parse
from chatoperator.desired.database import Volume
from chatoperator.desired.manifests import render
from chatoperator.kube.kinds import CERTIFICATE, ROUTE
from chatoperator.parts.credentials import Certificate, Issued
from chatoperator.parts.database import statefulset
from chatoperator.parts.ingress.tls.serving import Serving
from chatoperator.parts.placement import LOST_NODE_SECONDS, tolerations
from tests.support.chatclusters import IMAGES, SELF_SIGNED, THREE, ServedElsewhere, body, cluster, desired
from tests.support.cluster import ROOT

GOLDEN = ROOT / "tests" / "operator" / "data"

ISSUED = Issued(Certificate("issued certificate\n", "issued key\n"), "issuing authority\n")

PLACED: dict[str, Any] = {
    "nodeSelector": {"pool": "chat"},
    "tolerations": [{"key": "dedicated", "value": "chat", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "chat",
}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "minimal": ({}, {}),
    "nodeport-delete": (
        {
            "deletionPolicy": "Delete",
            "ingress": {
                "replicas": 3,
                "hostnames": ["chat.example.com"],
                "allowedOrigins": ["https://a.example.com", "https://b.example.com"],
                "service": {"type": "NodePort", "nodePort": 30443, "annotations": {"a": "b"}},
                "tls": {"mode": "Secret", "secretName": "mine"},
                "resources": {"limits": {"memory": "2Gi"}},
            },
            "chatserver": {"drainSeconds": 60, "targetConnectionsPerServer": 20_000},
            "database": {
                "storage": {"size": "20Gi", "storageClassName": "fast"},
                "parameters": {"work_mem": "8MB", "search_path": "it's"},
            },
        },
        {"https_port": 30443, "serving": ServedElsewhere(), "replicas": 5},
    ),
    "webhook": (
        {
            "auth": {
                "otp": {
                    "sender": "Webhook",
                    "webhook": {"url": "https://sms.example.com/codes", "secretName": "codes"},
                },
                "limits": {"codesPerNumberPerHour": 3, "requestsPerAddressPerMinute": 6_000},
                "callingCodes": ["49", "1242"],
            },
            "retention": {"days": 365},
        },
        {},
    ),
    "pod-template-and-limits": (
        {
            "ingress": {
                "replicas": 2,
                "limits": {
                    "requestsPerSecondPerIP": 5,
                    "connectionsPerIP": 20,
                    "trustedProxies": ["10.0.0.0/8", "2001:db8::1"],
                },
            },
            "chatserver": {
                "env": [{"name": "CHAT_LOG_LEVEL", "value": "DEBUG"}, {"name": "CHAT_HTTP_PORT", "value": "1"}],
                "podTemplate": {
                    "labels": {"team": "chat", "app.kubernetes.io/component": "mine"},
                    "annotations": {"sidecar.istio.io/inject": "false"},
                    "nodeSelector": {"pool": "chat"},
                    "tolerations": [{"key": "chat", "operator": "Exists"}],
                    "affinity": {"podAntiAffinity": {}},
                    "topologySpreadConstraints": [
                        {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
                    ],
                },
            },
        },
        {},
    ),
    "probe": (
        {
            "ingress": {"hostnames": ["chat.example.com"], "tls": {"mode": "Secret", "secretName": "mine"}},
            "chatserver": {"podTemplate": {"tolerations": [{"key": "chat", "operator": "Exists"}]}},
            "monitoring": {"probe": {"enabled": True, "intervalSeconds": 30}},
        },
        {"serving": ServedElsewhere()},
    ),
    "valkey": (
        {
            "bus": {
                "type": "Valkey",
                "valkey": {
                    "replicas": 3,
                    "resources": {"limits": {"memory": "1Gi"}},
                    "podTemplate": {"labels": {"team": "chat"}, "annotations": {"a": "b"}, **PLACED},
                },
            },
        },
        {},
    ),
    "instances": (
        {
            "database": {
                "instances": 3,
                "parameters": {"max_connections": "500", "work_mem": "8MB"},
                "podTemplate": {"labels": {"team": "data"}, "annotations": {"a": "b"}},
            }
        },
        {"replication": THREE},
    ),
    "backup": ({"database": {"backup": {"repository": {"volume": {"size": "30Gi", "storageClassName": "slow"}}}}}, {}),
    "backup-with-drills": (
        {"database": {"backup": {"repository": {"volume": {}}, "drill": {"size": "15Gi", "storageClassName": "fast"}}}},
        {},
    ),
    "backup-to-s3": (
        {
            "database": {
                "instances": 3,
                "backup": {
                    "repository": {
                        "s3": {
                            "bucket": "chats",
                            "region": "eu-central-1",
                            "endpoint": "s3.example.com:9000",
                            "path": "/one",
                            "uriStyle": "Path",
                            "secretName": "store",
                            "caSecretName": "store-ca",
                        }
                    },
                    "schedule": {"full": "30 2 * * 6"},
                    "retention": {"fullBackups": 4},
                    "archiveTimeoutSeconds": 30,
                    "suspended": True,
                    "encryption": {"secretName": "mine"},
                    "resources": {"limits": {"memory": "1Gi"}},
                },
            }
        },
        {"replication": THREE},
    ),
    "restore": (
        {
            "database": {
                "restore": {"from": {"chatCluster": {"name": "old"}}, "targetTime": "2026-11-30T10:15:00Z"},
                "backup": {"repository": {"volume": {}}},
            }
        },
        {},
    ),
    "restore-from-s3": (
        {
            "database": {
                "instances": 3,
                "restore": {
                    "from": {
                        "repository": {
                            "s3": {
                                "bucket": "chats",
                                "region": "eu-central-1",
                                "endpoint": "s3.example.com",
                                "path": "/chat/old",
                                "secretName": "store",
                            },
                            "encryption": {"secretName": "old-key"},
                        }
                    }
                },
            }
        },
        {"replication": THREE},
    ),
    "external-bus": ({"bus": {"type": "External", "external": {"secretName": "theirs"}}}, {}),
    "loadbalancer": (
        {
            "ingress": {
                "replicas": 3,
                "service": {
                    "type": "LoadBalancer",
                    "externalTrafficPolicy": "Local",
                    "annotations": {"example.com/load-balancer-proxy-protocol": "*"},
                    "proxyProtocolFrom": ["192.0.2.0/24", "2001:db8::1"],
                },
            },
        },
        {},
    ),
    "cert-manager": (
        {
            "ingress": {
                "hostnames": ["chat.example.com", "b.example.com"],
                "tls": {"mode": "CertManager", "issuerRef": {"name": "public", "kind": "ClusterIssuer"}},
            },
        },
        {
            "serving": Serving(issued=ISSUED, certificate_uid="0000-certificate"),
            "served": {CERTIFICATE},
        },
    ),
    "front-ingress": (
        {
            "ingress": {
                "hostnames": ["chat.example.com", "b.example.com"],
                "front": {
                    "kind": "Ingress",
                    "className": "public",
                    "tlsSecretName": "chat-example-com",
                    "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
                },
                "limits": {"trustedProxies": ["10.1.0.0/16"]},
            },
        },
        {},
    ),
    "front-route": (
        {
            "ingress": {
                "hostnames": ["chat.example.com"],
                "front": {
                    "kind": "HTTPRoute",
                    "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
                },
            },
        },
        {"served": {ROUTE}},
    ),
    "pull-secrets": ({"images": {"pullSecrets": ["registry", "mirror"]}}, {}),
    "external-database": (
        {"database": {"external": {"secretName": "mine"}}},
        {"database_identity": "external:0000-secret:1", "ports": (5433,)},
    ),
    "external-database-with-ca": (
        {"database": {"external": {"secretName": "cluster-app", "secretKey": "uri", "caSecretName": "cluster-ca"}}},
        {"database_identity": "external:0123456789", "ports": (5432,)},
    ),
    "pod-fields-of-every-part": (
        {
            "ingress": {
                "podTemplate": {
                    "labels": {"team": "edge"},
                    "annotations": {"sidecar.istio.io/inject": "false", "chatcluster.io/config-hash": "mine"},
                    "topologySpreadConstraints": [
                        {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
                    ],
                    **PLACED,
                },
            },
            "chatserver": {
                "podTemplate": PLACED,
                "migration": {
                    "podTemplate": {
                        "labels": {"team": "data"},
                        "annotations": {"a": "b"},
                        "nodeSelector": {"pool": "jobs"},
                    }
                },
            },
            "database": {
                "podTemplate": {"labels": {"team": "data"}, "annotations": {"linkerd.io/inject": "disabled"}, **PLACED},
                "resources": {"requests": {"memory": "2Gi"}, "limits": {"cpu": "0"}},
            },
        },
        {},
    ),
    "metrics-from": (
        {
            "networkPolicies": {
                "metricsFrom": [
                    {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
                        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
                    },
                    {"ipBlock": {"cidr": "10.1.0.0/16", "except": ["10.1.9.0/24"]}},
                ]
            }
        },
        {},
    ),
}


class _Readable(yaml.SafeDumper):
    """Files within ConfigMaps line by line, so that a diff shows what changed in them."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


@pytest.mark.parametrize("case", CASES)
def test_manifests_are_as_reviewed(case: str) -> None:
    spec, changed = CASES[case]
    made = yaml.dump_all(render(desired(cluster(**spec), **changed)), Dumper=_Readable, sort_keys=False, width=120)
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("CHATCLUSTER_WRITE_GOLDEN"):
        path.write_text(made)
    assert made == path.read_text(), f"{path.name} differs; see this file's docstring"


def _pods(**spec: Any) -> dict[str, dict[str, Any]]:
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for manifest in render(desired(cluster(**spec)))
        if "template" in manifest.get("spec", {})
    }


@pytest.mark.parametrize(
    ("wanted", "ours"),
    [
        ([], {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}),
        (
            [{"key": "chat", "operator": "Exists", "effect": "NoExecute"}],
            {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"},
        ),
        (
            [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 600}],
            {"node.kubernetes.io/not-ready"},
        ),
        ([{"operator": "Exists"}], set()),
        (
            [{"operator": "Exists", "effect": "NoSchedule"}],
            {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"},
        ),
    ],
)
def test_pods_leave_a_lost_node_soon_unless_the_user_says_when(wanted: list[dict[str, Any]], ours: set[str]) -> None:
    made = tolerations(wanted)
    assert made[: len(wanted)] == wanted
    assert {one["key"] for one in made[len(wanted) :]} == ours
    assert all(one["tolerationSeconds"] == LOST_NODE_SECONDS for one in made[len(wanted) :])


@pytest.mark.parametrize("name", ["demo-chatserver", "demo-ingress"])
def test_pods_are_kept_apart_also_where_nodes_know_no_zone(name: str) -> None:
    """A node that lacks the label of one of several constraints is scored by none of them."""
    spec = _pods()[name]["spec"]
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"].items() <= _pods()[name]["metadata"]["labels"].items()
    (wish,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
    assert wish["podAffinityTerm"]["labelSelector"] == spread["labelSelector"]


def test_the_database_waits_for_its_node_as_long_as_kubernetes_does() -> None:
    """Its volume may be there alone; another pod could not start anyway while this one may still run."""
    pods = _pods()
    leave = {name for name, template in pods.items() if "tolerations" in template["spec"]}
    assert leave == {"demo-chatserver", "demo-ingress"}


def test_every_part_has_the_same_pod_fields() -> None:
    template = {"labels": {"team": "a"}, "annotations": {"b": "c"}, **PLACED}
    pods = _pods(
        ingress={"podTemplate": template},
        chatserver={"podTemplate": template, "migration": {"podTemplate": template}},
        database={"podTemplate": template},
    )
    assert len(pods) == 4
    for made in pods.values():
        assert made["metadata"]["labels"]["team"] == "a"
        assert made["metadata"]["annotations"]["b"] == "c"
        assert made["spec"]["tolerations"][:1] == PLACED["tolerations"]
        assert {name: made["spec"][name] for name in PLACED.keys() - {"tolerations"}} == {
            name: value for name, value in PLACED.items() if name != "tolerations"
        }


def test_a_migration_finds_the_chatservers_nodes_unless_it_says_otherwise() -> None:
    def placed(**migration: Any) -> dict[str, Any]:
        made = _pods(
            chatserver={"podTemplate": {"labels": {"a": "b"}, **PLACED}, "migration": {"podTemplate": migration}}
        )
        return next(template for name, template in made.items() if "migrate" in name)

    plain = placed()
    assert {name: plain["spec"][name] for name in PLACED} == PLACED
    assert "a" not in plain["metadata"]["labels"], "a mesh is told about each part by itself"
    own = placed(nodeSelector={"pool": "jobs"})["spec"]
    assert own["nodeSelector"] == {"pool": "jobs"}
    assert own["tolerations"] == PLACED["tolerations"]


@pytest.mark.parametrize(
    ("wanted", "requests", "limits"),
    [
        ({}, {"cpu": "50m", "memory": "128Mi"}, {"cpu": "2", "memory": "1Gi"}),
        # A default gives way to what the user says, whichever half that is.
        ({"requests": {"memory": "2Gi"}}, {"cpu": "50m", "memory": "2Gi"}, {"cpu": "2", "memory": "2Gi"}),
        ({"requests": {"cpu": 2.5}}, {"cpu": "2.5", "memory": "128Mi"}, {"cpu": "2.5", "memory": "1Gi"}),
        ({"limits": {"memory": "64Mi"}}, {"cpu": "50m", "memory": "64Mi"}, {"cpu": "2", "memory": "64Mi"}),
        # 0 takes a limit away.
        ({"limits": {"cpu": 0}}, {"cpu": "50m", "memory": "128Mi"}, {"memory": "1Gi"}),
        ({"limits": {"cpu": "0"}, "requests": {"cpu": 4}}, {"cpu": "4", "memory": "128Mi"}, {"memory": "1Gi"}),
        ({"limits": {"cpu": None}}, {"cpu": "50m", "memory": "128Mi"}, {"cpu": "2", "memory": "1Gi"}),
        (
            {"requests": {"hugepages-2Mi": "64Mi"}, "limits": {"hugepages-2Mi": "64Mi"}},
            {"cpu": "50m", "memory": "128Mi", "hugepages-2Mi": "64Mi"},
            {"cpu": "2", "memory": "1Gi", "hugepages-2Mi": "64Mi"},
        ),
    ],
)
def test_no_default_contradicts_what_the_user_says(
    wanted: dict[str, Any], requests: dict[str, str], limits: dict[str, str]
) -> None:
    made = _pods(database={"resources": wanted})["demo-postgres"]["spec"]["containers"][0]["resources"]
    assert made == {"requests": requests, "limits": limits}


def test_a_database_without_limits_is_tuned_by_what_it_is_sure_to_have() -> None:
    none = {"cpu": 0, "memory": 0}
    sized = [
        statefulset.parameters(cluster(database={"resources": resources}), volume_size="10Gi")
        for resources in (
            {"requests": {"memory": "4Gi"}, "limits": none},
            {"requests": {"memory": "4Gi"}},
            {"limits": none},
            {},
        )
    ]
    assert [made["shared_buffers"] for made in sized] == ["1024MB", "1024MB", "256MB", "256MB"]


def test_every_pod_is_restricted_and_has_no_token_but_limits() -> None:
    pods = _pods()
    assert len(pods) == 4
    for template in pods.values():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert set(container["resources"]["requests"]) == set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_no_pod_can_fill_its_nodes_disk() -> None:
    for template in _pods().values():
        empty = [volume["emptyDir"] for volume in template["spec"]["volumes"] if "emptyDir" in volume]
        assert empty
        assert all("sizeLimit" in one for one in empty)


def test_every_pod_pulls_with_the_secrets_of_the_spec() -> None:
    assert all("imagePullSecrets" not in template["spec"] for template in _pods().values())
    pods = _pods(images={"pullSecrets": ["registry"]})
    assert {name.split("-")[1] for name in pods} == {"ingress", "chatserver", "postgres", "migrate"}
    assert all(template["spec"]["imagePullSecrets"] == [{"name": "registry"}] for template in pods.values())


def test_a_chat_fits_a_two_core_node() -> None:
    """Two HAProxy, three chatservers, one PostgreSQL, one migrate Job: what `make up` and its tests run."""
    counts = {"demo-ingress": 2, "demo-chatserver": 3, "demo-postgres": 1}
    requests = {
        name.split("-migrate-")[0]: template["spec"]["containers"][0]["resources"]["requests"]
        for name, template in _pods().items()
    }
    millicores = sum(int(requests[name]["cpu"].removesuffix("m")) * count for name, count in counts.items())
    mebibytes = sum(int(requests[name]["memory"].removesuffix("Mi")) * count for name, count in counts.items())
    assert millicores <= 500
    assert mebibytes <= 1024


def test_kubelet_waits_longer_than_a_drain_takes() -> None:
    for drain in (10, 30, 600):
        template = _pods(chatserver={"drainSeconds": drain})["demo-chatserver"]
        assert template["spec"]["terminationGracePeriodSeconds"] > drain + 15


def test_changing_what_servers_need_not_know_rolls_no_server() -> None:
    """The template is the same, so Kubernetes restarts nothing."""
    before = _pods()["demo-chatserver"]
    for spec in (
        {"chatserver": {"targetConnectionsPerServer": 1}},
        {"chatserver": {"scaling": {"minReplicas": 3}}},
        {"chatserver": {"scaling": {"mode": "Disabled", "replicas": 7}}},
        {"ingress": {"replicas": 5, "hostnames": ["chat.example.com"]}},
        {"database": {"storage": {"size": "99Gi"}}},
        {"deletionPolicy": "Delete"},
    ):
        assert _pods(**spec)["demo-chatserver"] == before


def test_scaling_never_reaches_haproxy() -> None:
    before = _pods()["demo-ingress"]
    for replicas in (1, 50, 100):
        scaling = {"minReplicas": 1, "maxReplicas": 50}
        made = render(desired(cluster(chatserver={"scaling": scaling}), replicas=replicas))
        ingress = next(m for m in made if m["kind"] == "Deployment" and m["metadata"]["name"] == "demo-ingress")
        assert ingress["spec"]["template"] == before


def test_a_certificate_never_rolls_haproxy() -> None:
    before, *others = (
        render(desired(cluster(), serving=Serving(self_signed=made)))
        for made in (SELF_SIGNED, replace(SELF_SIGNED, server=SELF_SIGNED.authority))
    )
    deployments = [[m for m in made if m["kind"] == "Deployment"] for made in (before, *others)]
    assert deployments[0] == deployments[1]


def test_haproxy_is_the_same_with_a_certificate_of_its_own_and_one_by_cert_manager() -> None:
    hostnames = {"hostnames": ["chat.example.com"]}
    by_cert_manager = {**hostnames, "tls": {"mode": "CertManager", "issuerRef": {"name": "ours"}}}
    issued = {"serving": Serving(issued=ISSUED)}
    own, others, waiting = (
        [m for m in render(desired(cluster(ingress=ingress), **known)) if m["kind"] in {"Deployment", "ConfigMap"}]
        for ingress, known in ((hostnames, {}), (by_cert_manager, issued), (by_cert_manager, {}))
    )
    assert own == others == waiting


def test_a_certificate_is_asked_for_where_cert_manager_is_and_only_a_filled_secret_is_taken_on() -> None:
    asking = cluster(
        ingress={"hostnames": ["chat.example.com"], "tls": {"mode": "CertManager", "issuerRef": {"name": "ours"}}}
    )
    for uid, known, made in (
        (None, False, set()),
        (None, True, {"Certificate"}),
        ("0000-certificate", True, {"Certificate", "Secret"}),
    ):
        serving = Serving(self_signed=SELF_SIGNED, certificate_uid=uid)
        manifests = render(desired(asking, serving=serving, served={CERTIFICATE} if known else ()))
        assert {m["kind"] for m in manifests if m["metadata"]["name"] == "demo-ingress-issued"} == made


def test_what_stands_in_front_finds_haproxys_port_and_is_let_through() -> None:
    front = {"kind": "HTTPRoute", "parentRefs": [{"name": "public"}]}
    for known in (False, True):
        made = render(
            desired(
                cluster(ingress={"hostnames": ["chat.example.com"], "front": front}), served={ROUTE} if known else ()
            )
        )
        named = {m["kind"]: m for m in made if m["metadata"]["name"] == "demo-front"}
        assert named.keys() == ({"Service", "HTTPRoute"} if known else {"Service"})
        (port,) = named["Service"]["spec"]["ports"]
        (haproxy,) = (m for m in made if m["kind"] == "Deployment" and m["metadata"]["name"] == "demo-ingress")
        ports = haproxy["spec"]["template"]["spec"]["containers"][0]["ports"]
        (number,) = [each["containerPort"] for each in ports if each["name"] == port["targetPort"]]
        (policy,) = (m for m in made if m["kind"] == "NetworkPolicy" and m["metadata"]["name"] == "demo-ingress")
        assert number in {each["port"] for each in policy["spec"]["ingress"][0]["ports"]}
        (config,) = (m for m in made if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "demo-ingress")
        assert f"bind :{number} name front\n" in config["data"]["haproxy.cfg"]


def test_credentials_and_volume_are_owned_under_delete_alone() -> None:
    fate = {"demo-database", "demo-postgres-data"}
    for policy, owned in (("Retain", False), ("Delete", True)):
        for manifest in render(desired(cluster(deletionPolicy=policy))):
            name, owners = manifest["metadata"]["name"], manifest["metadata"].get("ownerReferences", [])
            if name in fate or (manifest["kind"], name) == ("Secret", "demo-chatserver"):
                assert bool(owners) is owned, name
            else:
                assert [owner["uid"] for owner in owners] == ["0000-demo"], name


def test_the_dsn_quotes_the_password() -> None:
    secret = next(m for m in render(desired(cluster())) if m["metadata"]["name"] == "demo-database")
    dsn = base64.b64decode(secret["data"]["dsn"]).decode()
    assert dsn == "postgresql://chat_a:p%40ss%2Fword@demo-postgres.chat.svc:5432/chat"


def test_what_is_not_known_yet_is_left_out() -> None:
    waiting = desired(
        cluster(),
        https_port=None,
        serving=Serving(),
        volume=Volume(usable=False),
        database_identity=None,
        template=None,
    )
    kinds = {(m["kind"], m["metadata"]["name"]) for m in render(waiting)}
    assert not {kind for kind, _ in kinds} & {"Deployment", "StatefulSet", "Job", "PersistentVolumeClaim"}
    assert ("Secret", "demo-database") not in kinds
    assert ("Service", "demo-ingress") in kinds


def test_names_of_the_longest_chatcluster_fit() -> None:
    raw = body(name="n" * 40)
    for manifest in render(desired(parse(raw))):
        assert len(manifest["metadata"]["name"]) <= 63


def test_a_new_image_or_volume_is_a_new_migration() -> None:
    def name(**changed: Any) -> str:
        return str(desired(cluster(), **changed).migration.job_name)

    assert name() == name()
    assert name() != name(database_identity="claim:other")
    assert name() != name(images=replace(IMAGES, chatserver="chatserver:2"))
    assert name() == name(images=replace(IMAGES, postgres="postgres:2", haproxy="haproxy:2"))


def test_nothing_of_the_users_replaces_what_the_operator_relies_on() -> None:
    spec, _ = CASES["pod-template-and-limits"]
    template = _pods(**spec)["demo-chatserver"]
    before = _pods()["demo-chatserver"]
    assert before["metadata"]["labels"].items() <= template["metadata"]["labels"].items()
    environment = {entry["name"]: entry.get("value") for entry in template["spec"]["containers"][0]["env"]}
    assert environment["CHAT_LOG_LEVEL"] == "DEBUG"
    assert environment["CHAT_HTTP_PORT"] == "8080"
    assert len(environment) == len(template["spec"]["containers"][0]["env"]), "the API server refuses a name twice"
    (spread,) = template["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "rack"
    assert spread["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    job = next(pod for name, pod in _pods(**spec).items() if "-migrate-" in name)
    assert job["spec"]["nodeSelector"] == {"pool": "chat"}


def test_the_crd_refuses_every_variable_that_the_operator_sets() -> None:
    crd = yaml.load((ROOT / "crds" / "chatcluster.yaml").read_text(), yaml.CSafeLoader)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    (rule,) = schema["chatserver"]["properties"]["env"]["x-kubernetes-validations"]
    specs = [CASES[name][0] for name in ("webhook", "valkey", "external-bus")]
    ours = {
        entry["name"] for spec in specs for entry in _pods(**spec)["demo-chatserver"]["spec"]["containers"][0]["env"]
    }
    assert set(re.findall(r"'(\w+)'", rule["rule"])) == ours


def test_an_address_limit_is_shared_by_the_proxies() -> None:
    made = render(desired(cluster(ingress={"replicas": 3, "limits": {"connectionsPerIP": 10}})))
    (config,) = [m for m in made if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "demo-ingress"]
    assert "sc0_conn_cur(clients) gt 4 }" in config["data"]["haproxy.cfg"]
    assert "http_req_rate(clients)" not in config["data"]["haproxy.cfg"]


@pytest.mark.parametrize(("proxies", "share"), [(1, 12_500), (2, 12_500), (3, 6_250), (20, 658)])
def test_a_servers_connections_are_shared_so_that_one_proxy_can_be_away(proxies: int, share: int) -> None:
    made = render(desired(cluster(ingress={"replicas": proxies})))
    (config,) = [m for m in made if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "demo-ingress"]
    assert f"default-server maxconn {share}\n" in config["data"]["haproxy.cfg"]


@pytest.mark.parametrize(
    ("memory", "connections"), [(None, 12_288), ("2Gi", 25_031), ("128Mi", 1_137), ("40Mi", 100), ("64e6", 304)]
)
def test_haproxy_takes_as_many_connections_as_it_has_memory_for(memory: str | None, connections: int) -> None:
    ingress = {"resources": {"limits": {"memory": memory}}} if memory else {}
    made = render(desired(cluster(ingress=ingress)))
    (config,) = [m for m in made if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "demo-ingress"]
    # In the frontend and not for all of HAProxy: its health has to be seen when clients fill it.
    _, _, frontend = config["data"]["haproxy.cfg"].partition("\nfrontend https\n")
    assert f"\n    maxconn {connections}\n" in frontend


def test_two_proxies_stand_apart_and_leave_one_at_a_time() -> None:
    made = {(m["kind"], m["metadata"]["name"]): m for m in render(desired(cluster()))}
    proxies, budget = made["Deployment", "demo-ingress"]["spec"], made["PodDisruptionBudget", "demo-ingress"]["spec"]
    assert proxies["replicas"] == 2
    spread = {rule["topologyKey"]: rule for rule in proxies["template"]["spec"]["topologySpreadConstraints"]}
    assert "kubernetes.io/hostname" in spread
    for rule in spread.values():
        assert rule["maxSkew"] == 1
        assert rule["labelSelector"]["matchLabels"].items() <= proxies["template"]["metadata"]["labels"].items()
    assert (budget["maxUnavailable"], budget["selector"]) == (1, proxies["selector"])
    assert proxies["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_no_secret_is_outside_secrets() -> None:
    made = yaml.safe_dump_all([m for m in render(desired(cluster())) if m["kind"] != "Secret"])
    for secret in ("p@ss/word", "p%40ss", "authority key", "server key"):
        assert secret not in made
