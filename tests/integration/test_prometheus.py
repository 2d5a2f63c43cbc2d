"""The Prometheus and the Alertmanager of the tests do what tests rely on: scrape, fire, resolve, inhibit, stop."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.alertmanager import Alertmanager, Receiver
from tests.support.plainhttp import NO_TLS
from tests.support.prometheus import Prometheus, Target, check

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

RULES = """
groups:
  - name: test
    rules:
      - alert: Cause
        expr: healthy == 0
        labels: {severity: page}
        annotations: {summary: It is not healthy}
      - alert: Consequence
        expr: answers == 0
        labels: {severity: page}
"""

INHIBITION = {
    "source_matchers": ["alertname=Cause"],
    "target_matchers": ["alertname=Consequence"],
    "equal": ["chatcluster"],
}


class Page:
    """A page of one metric on loopback."""

    def __init__(self) -> None:
        self.text = "healthy 1\nanswers 1\n"
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = page.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    thread = threading.Thread(target=page.server.serve_forever, daemon=True)
    thread.start()
    yield page
    page.server.shutdown()
    page.server.server_close()
    thread.join()


async def test_an_alert_fires_and_resolves_and_mutes_its_consequence(page: Page) -> None:
    with (
        Receiver() as receiver,
        Alertmanager(receiver, inhibit_rules=[INHIBITION]) as alertmanager,
        Prometheus(rules={"test.yaml": RULES}, alertmanager=alertmanager.address) as prometheus,
    ):
        prometheus.scrape(Target.of(page.url, namespace="chat", chatcluster="demo", component="chatserver"))
        await prometheus.scraped()
        assert prometheus.value('healthy{chatcluster="demo"}') == 1
        assert not prometheus.firing()
        # One after the other: of two that begin in one moment, Alertmanager may send the consequence before it has
        # taken up the cause.
        page.text = "healthy 0\nanswers 1\n"
        notice = receiver.wait_for("Cause", chatcluster="demo")
        assert notice.annotations == {"summary": "It is not healthy"}
        page.text = "healthy 0\nanswers 0\n"
        await prometheus.has('ALERTS{alertname="Consequence", alertstate="firing"}')
        assert {labels["alertname"] for labels in prometheus.firing()} == {"Cause", "Consequence"}
        page.text = "healthy 0\nanswers 1\n"
        await prometheus.has('absent(ALERTS{alertname="Consequence", alertstate="firing"})')
        page.text = "healthy 1\nanswers 1\n"
        receiver.wait_for("Cause", "resolved")
        assert receiver.fired("page") == {"Cause"}
    for address in (prometheus.url, f"http://{alertmanager.address}"):
        async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(address)


async def test_series_of_the_operator_name_their_chatcluster(page: Page) -> None:
    page.text = 'healthy{namespace="chat",name="demo"} 1\nleading 1\n'
    with Prometheus() as prometheus:
        prometheus.scrape(Target.of(page.url, namespace="chatcluster-system", component="operator"))
        await prometheus.scraped()
        assert prometheus.value('healthy{namespace="chat",chatcluster="demo",component="operator"}') == 1
        assert prometheus.value('leading{namespace="chatcluster-system",chatcluster=""}') == 1


def test_promtool_finds_what_does_not_parse() -> None:
    assert not check("rules", RULES)
    assert "could not parse expression" in check("rules", RULES.replace("healthy == 0", "healthy ==", 1))
