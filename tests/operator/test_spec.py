"""parse(): frozen types in, errors that name the field and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from chatoperator.errors import SpecError
from chatoperator.spec import parse, surge
from tests.support.chatclusters import body, cluster


def test_the_least_that_is_valid_has_every_default() -> None:
    made = cluster()
    assert (made.name, made.namespace, made.retain, made.paused) == ("demo", "chat", True, False)
    assert made.ingress.replicas == 2
    assert made.ingress.service.type == "ClusterIP"
    assert made.chatserver.target_connections_per_server == 10_000
    assert (made.chatserver.scaling.min_replicas, made.chatserver.scaling.max_replicas) == (2, 10)
    assert made.database.storage_size == "10Gi"
    assert (made.auth.codes_per_address_per_hour, made.auth.session_days) == (100, 90)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"chatserver": {"scaling": {"minReplicas": 5, "maxReplicas": 2}}}, "chatserver.scaling.minReplicas"),
        ({"chatserver": {"scaling": {"replicas": 2}}}, "chatserver.scaling.replicas"),
        ({"chatserver": {"scaling": {"mode": "External"}}}, "chatserver.scaling.replicas"),
        ({"chatserver": {"scaling": {"mode": "Sometimes"}}}, "chatserver.scaling.mode"),
        ({"chatserver": {"drainSeconds": 9}}, "chatserver.drainSeconds"),
        ({"chatserver": {"targetConnectionsPerServer": "many"}}, "chatserver.targetConnectionsPerServer"),
        ({"chatserver": {"targetConnectionsPerServer": True}}, "chatserver.targetConnectionsPerServer"),
        ({"ingress": {"tls": {"mode": "Secret"}}}, "ingress.tls.secretName"),
        ({"ingress": {"service": {"nodePort": 30443}}}, "ingress.service.nodePort"),
        ({"database": {"parameters": {"port": "1"}}}, "database.parameters.port"),
        ({"database": {"parameters": {"work_mem": "1MB\nport = 1"}}}, "database.parameters.work_mem"),
        ({"database": {"parameters": {"max_connections": "lots"}}}, "database.parameters.max_connections"),
        ({"database": {"external": {}}}, "database.external.secretName"),
        ({"chatserver": {"scaling": {"maxReplicas": 100}}, "database": {"parameters": {"max_connections": "100"}}},
         "chatserver.scaling.maxReplicas"),
        ({"database": {"external": {"secretName": "mine", "connectionBudget": 10}}},
         "database.external.connectionBudget"),
        ({"auth": {}}, "auth.otp.sender"),
        ({"auth": {"otp": {"sender": "Log"}}}, "auth.otp.allowDevelopmentCodes"),
        ({"deletionPolicy": "Perhaps"}, "deletionPolicy"),
    ],
)  # fmt: skip
def test_wrong_values_name_their_field_and_a_remedy(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse(body(**spec))
    assert refused.value.field == field
    assert refused.value.remedy
    assert str(refused.value).startswith(f"spec.{field}: ")


@pytest.mark.parametrize(("target", "cap"), [(1, 12_500), (3, 12_500), (10_000, 12_500), (10_001, 25_000)])
def test_a_lowered_target_keeps_the_cap_that_is_in_the_pod_template(target: int, cap: int) -> None:
    assert cluster(chatserver={"targetConnectionsPerServer": target}).chatserver.max_connections == cap


@pytest.mark.parametrize(("ceiling", "pool"), [(2, 16), (10, 16), (16, 10), (50, 2)])
def test_all_pools_together_stay_within_the_budget(ceiling: int, pool: int) -> None:
    made = cluster(chatserver={"scaling": {"minReplicas": 1, "maxReplicas": ceiling}})
    assert made.pool_size == pool
    most_servers = ceiling + 2 * surge(ceiling)
    assert most_servers * (made.pool_size + 1) <= made.database.connection_budget


def test_external_mode_is_budgeted_for_the_number_that_was_set() -> None:
    made = cluster(chatserver={"scaling": {"mode": "External", "replicas": 40, "maxReplicas": 10}})
    assert made.chatserver.scaling.ceiling == 40
    assert made.pool_size < cluster().pool_size
