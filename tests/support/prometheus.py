"""A real Prometheus on loopback: scrapes given targets, evaluates given rules, answers queries."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import yaml

from tests.support.apiserver import process
from tests.support.cluster import until
from tests.support.plainhttp import NO_TLS
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

START_SECONDS = 60
"""Seconds it may take to start on a loaded machine."""

OPERATOR = "operator"
"""Component whose series name a ChatCluster themselves: their labels win over the target's."""


@dataclass(frozen=True, slots=True)
class Target:
    """A page to scrape.

    Attributes:
        address: As host:port.
        labels: Those that the documented scrape configuration sets: namespace, chatcluster, component, pod.
        path: Of the page, without parameters.
        scheme: http, or https with any certificate.
        parameters: Of the request, such as `{"scope": "global"}`.
    """

    address: str
    labels: Mapping[str, str]
    path: str = "/metrics"
    scheme: str = "http"
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str, **labels: str) -> Target:
        """The page at `http://host:port/path`, with labels."""
        parsed = httpx.URL(url)
        return cls(f"{parsed.host}:{parsed.port}", labels, parsed.path, parsed.scheme, dict(parsed.params))

    def discovered(self) -> dict[str, Any]:
        """As an entry of a file for Prometheus' file_sd."""
        parameters = {f"__param_{name}": value for name, value in self.parameters.items()}
        meta = {"__scheme__": self.scheme, "__metrics_path__": self.path, **parameters}
        return {"targets": [self.address], "labels": {**self.labels, **meta}}


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an answer, at one time."""

    labels: Mapping[str, str]
    value: float


class PrometheusApi:
    """A Prometheus that answers queries, wherever it runs.

    Args:
        url: Without the last slash.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[Sample]:
        """The value of an expression now, one sample a series.

        Raises:
            AssertionError: Prometheus refused it, with its message.
        """
        data = self._get("query", query=expression)
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(found["metric"], float(found["value"][1])) for found in data["result"]]

    def value(self, expression: str) -> float:
        """The value of an expression that has one series.

        Raises:
            AssertionError: It has none, or several.
        """
        samples = self.query(expression)
        assert len(samples) == 1, f"{expression} has {len(samples)} series: {samples[:5]}"
        return samples[0].value

    def firing(self) -> list[Mapping[str, str]]:
        """The labels of the alerts that fire now."""
        return [alert["labels"] for alert in self._get("alerts")["alerts"] if alert["state"] == "firing"]

    def rules(self) -> list[dict[str, Any]]:
        """Prometheus' own account of its rules: name, health, lastError."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """Prometheus' own account of its targets: labels, health, lastError, scrapeUrl."""
        active: list[dict[str, Any]] = self._get("targets", state="active")["activeTargets"]
        return active

    async def has(self, expression: str, patience_seconds: float = START_SECONDS) -> list[Sample]:
        """Wait until an expression has a series, as a comparison has that holds; returns its samples."""

        async def found() -> bool:
            return bool(self.query(expression))

        await until(found, f"{expression} has a series", patience_seconds, 0.2)
        return self.query(expression)

    def _get(self, call: str, **parameters: str) -> Any:
        answer = httpx.get(
            f"{self.url}/api/v1/{call}", params=parameters, timeout=30, verify=NO_TLS, trust_env=False
        ).json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]


class Prometheus(PrometheusApi):
    """Use it as a context manager; it stops the process that it started, and no other.

    Args:
        rules: Texts of rule files by name, such as `{"chat.yaml": "groups: ..."}`.
        alertmanager: Where alerts go, as host:port.
        seconds: Between two scrapes, and between two evaluations.
        parent: Folder to make its own folder in; None: the system's.
    """

    def __init__(
        self,
        *,
        rules: Mapping[str, str] | None = None,
        alertmanager: str | None = None,
        seconds: float = 1,
        parent: Path | None = None,
    ) -> None:
        self._program = program("prometheus")
        self._rules = dict(rules or {})
        self._alertmanager = alertmanager
        self._interval = f"{round(seconds * 1000)}ms"
        self._parent = parent
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self._port = port
        self._opened = ExitStack()
        self._targets: dict[str, list[Target]] = {"chats": [], OPERATOR: []}

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._folder = Path(tempfile.mkdtemp(prefix="chat-prometheus-", dir=self._parent))
            opened.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._write()
            self._log = self._folder / "prometheus.log"
            opened.enter_context(
                process(
                    self._log,
                    self._program,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--enable-feature=exemplar-storage",
                    # An alert that has resolved is sent at the next evaluation, not a minute later.
                    "--rules.alert.resend-delay=1s",
                )
            )
            wait_ready(f"{self.url}/-/ready", self._log)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def scrape(self, *targets: Target) -> None:
        """Scrape these from now on, in the place of those before."""
        operators = [target for target in targets if target.labels.get("component") == OPERATOR]
        self._targets = {"chats": [target for target in targets if target not in operators], OPERATOR: operators}
        self._discover()

    def log_text(self) -> str:
        """Return all that the process has logged."""
        return self._log.read_text()

    async def scraped(self, patience_seconds: float = START_SECONDS) -> None:
        """Wait until every target was scraped."""
        count = sum(map(len, self._targets.values()))

        async def up() -> bool:
            found = self.targets()
            return len(found) == count and all(target["health"] == "up" for target in found)

        def why() -> str:
            return "\n".join(
                f"{found['scrapeUrl']}: {found['health']} {found['lastError']}" for found in self.targets()
            )

        await until(up, f"{count} targets are scraped", patience_seconds, 0.2, otherwise=why)

    def _write(self) -> None:
        for name, text in self._rules.items():
            (self._folder / name).write_text(text)
        self._discover()
        configuration: dict[str, Any] = {
            "global": {
                "scrape_interval": self._interval,
                "scrape_timeout": self._interval,
                "evaluation_interval": self._interval,
            },
            "rule_files": [str(self._folder / name) for name in self._rules],
            "scrape_configs": [self._job("chats"), {**self._job(OPERATOR), **_OPERATOR_LABELS}],
        }
        if self._alertmanager:
            configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [self._alertmanager]}]}]}
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))

    def _job(self, name: str) -> dict[str, Any]:
        files = [str(self._folder / f"{name}.json")]
        return {
            "job_name": name,
            "file_sd_configs": [{"files": files, "refresh_interval": "1s"}],
            "tls_config": {"insecure_skip_verify": True},
        }

    def _discover(self) -> None:
        for name, targets in self._targets.items():
            path = self._folder / f"{name}.json"
            path.with_suffix(".new").write_text(json.dumps([target.discovered() for target in targets]))
            path.with_suffix(".new").rename(path)


_OPERATOR_LABELS: dict[str, Any] = {
    "honor_labels": True,
    "metric_relabel_configs": [
        {"source_labels": ["name"], "regex": "(.+)", "target_label": "chatcluster", "replacement": "$1"},
    ],
}
"""As the chart's PodMonitor of the operator has it."""


def check(command: str, text: str) -> str:
    """What `promtool check COMMAND` says about a text, such as rules; empty if it finds nothing.

    Args:
        command: rules, config or metrics.
        text: A file's content.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        # Metrics only come by standard input, the others only as files.
        files, given = ([], text) if command == "metrics" else ([file.name], None)
        done = subprocess.run(
            [program("promtool"), "check", command, *files], input=given, capture_output=True, text=True, check=False
        )
    return done.stdout + done.stderr if done.returncode else ""


def wait_ready(url: str, log: Path) -> None:
    """Wait until a program answers 200.

    Raises:
        AssertionError: It does not in time, with the end of its log.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, verify=NO_TLS, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"nothing answers at {url}:\n{log.read_text()[-3000:]}")


def program(name: str) -> str:
    """Path of one of Debian's programs.

    Raises:
        FileNotFoundError: It is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no {name} here: install Debian's packages 'prometheus' and 'prometheus-alertmanager'")
    return found
