"""The chart and the operator agree on variables, ports, choices and the memory limit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chatoperator import settings
from chatoperator.api.quantity import number
from chatoperator.errors import SettingsError
from tests.support.cluster import ROOT
from tests.support.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

CHART = ROOT / "charts" / "chatcluster-operator"
TEMPLATE = (CHART / "templates" / "deployment.yaml").read_text(encoding="utf-8")
VALUES = yaml.load((CHART / "values.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
SCHEMA = yaml.load((CHART / "values.schema.json").read_text(encoding="utf-8"), yaml.CSafeLoader)["properties"]

LEAST = {
    "CHATOPERATOR_VERSION": "1",
    "CHATOPERATOR_IMAGE_CHATSERVER": "chatserver:1",
    "CHATOPERATOR_IMAGE_POSTGRES": "postgres:1",
    "CHATOPERATOR_IMAGE_HAPROXY": "haproxy:1",
    "CHATOPERATOR_IMAGE_VALKEY": "valkey:1",
    "CHATOPERATOR_NAMESPACE": "chatcluster-system",
}
"""The variables without a default."""

FIXED_IN_THE_CHART = {"CHATOPERATOR_HEALTH_PORT", "CHATOPERATOR_METRICS_PORT"}
"""Variables that only tests set: the chart has the default ports."""


def test_the_operator_reads_each_variable_that_the_chart_sets_and_no_other() -> None:
    given = Recorded(LEAST)
    settings.read(given)
    assert set(re.findall(r"- name: ([A-Z_]+)$", TEMPLATE, re.MULTILINE)) == given.read - FIXED_IN_THE_CHART


def test_the_chart_has_the_defaults_of_the_operator() -> None:
    made = settings.read(LEAST)
    ports = dict(re.findall(r"- name: (\w+)\n +containerPort: (\d+)", TEMPLATE))
    assert ports == {"health": str(made.health_port), "metrics": str(made.metrics_port)}
    assert VALUES["clusterDomain"] == made.cluster_domain
    assert VALUES["logLevel"] == made.log_level
    assert VALUES["images"]["pullPolicy"] == made.image_pull_policy
    assert number(VALUES["resources"]["limits"]["memory"]) == made.memory_bytes


@pytest.mark.parametrize(
    ("variable", "schema"),
    [
        ("CHATOPERATOR_LOG_LEVEL", SCHEMA["logLevel"]),
        ("CHATOPERATOR_IMAGE_PULL_POLICY", SCHEMA["images"]["properties"]["pullPolicy"]),
    ],
)
def test_the_operator_takes_each_choice_of_the_chart(variable: str, schema: Mapping[str, Any]) -> None:
    for choice in schema["enum"]:
        settings.read({**LEAST, variable: choice})
    with pytest.raises(SettingsError, match=variable) as refused:
        settings.read({**LEAST, variable: "other"})
    assert set(str(refused.value).partition("one of ")[2].split(", ")) == set(schema["enum"])
