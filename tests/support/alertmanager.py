"""A real Alertmanager on loopback, and the receiver that remembers what it sends."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.support.apiserver import process
from tests.support.ports import free_port
from tests.support.prometheus import program, wait_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert in a notification, as a pager gets it.

    Attributes:
        status: firing or resolved.
        labels: With alertname and severity.
        annotations: Such as summary and runbook_url.
        received: When, by the monotonic clock, in seconds.
    """

    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    received: float

    @property
    def name(self) -> str:
        """Of the alert."""
        return self.labels["alertname"]


class Receiver:
    """What Alertmanager calls; use it as a context manager."""

    def __init__(self) -> None:
        self._notices: list[Notice] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.take(body["alerts"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, alerts: Iterable[Mapping[str, Any]]) -> None:
        """Remember the alerts of a notification."""
        now = time.monotonic()
        with self._changed:
            self._notices += [Notice(one["status"], one["labels"], one["annotations"], now) for one in alerts]
            self._changed.notify_all()

    @property
    def notices(self) -> list[Notice]:
        """All so far, the oldest first; an alert that goes on firing is repeated with each change of its group."""
        with self._changed:
            return list(self._notices)

    def forget(self) -> None:
        """Forget all so far."""
        with self._changed:
            self._notices.clear()

    def fired(self, severity: str | None = None, counts: Callable[[Notice], bool] = lambda _: True) -> set[str]:
        """Names of the alerts that have fired so far, of one severity or of all, and only those that count."""
        return {
            notice.name
            for notice in self.notices
            if notice.status == "firing" and severity in {None, notice.labels.get("severity")} and counts(notice)
        }

    def wait_for(self, alert: str, status: str = "firing", seconds: float = 60, **labels: str) -> Notice:
        """Return the first notice of an alert with a status and these labels, once there is one.

        Blocks the thread: a test whose event loop has to go on calls it by `asyncio.to_thread`.

        Raises:
            AssertionError: There is none in time, with what came instead.
        """

        def found() -> Notice | None:
            for notice in self._notices:
                if notice.name == alert and notice.status == status and labels.items() <= notice.labels.items():
                    return notice
            return None

        with self._changed:
            notice = self._changed.wait_for(found, seconds)
            came = [(one.name, one.status) for one in self._notices]
        assert notice is not None, f"{alert} is not {status} within {seconds} s; instead: {came}"
        return notice


class Alertmanager:
    """Use it as a context manager; it stops the process that it started, and no other.

    Args:
        receiver: Who gets the notifications.
        inhibit_rules: As in Alertmanager's configuration.
        parent: Folder to make its own folder in; None: the system's.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        inhibit_rules: Sequence[Mapping[str, Any]] = (),
        parent: Path | None = None,
    ) -> None:
        self._program = program("prometheus-alertmanager")
        self._receiver = receiver
        self._inhibit_rules = inhibit_rules
        self._parent = parent
        self._opened = ExitStack()
        port = free_port()
        self.address = f"127.0.0.1:{port}"

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            folder = Path(tempfile.mkdtemp(prefix="chat-alertmanager-", dir=self._parent))
            opened.callback(shutil.rmtree, folder, ignore_errors=True)
            (folder / "alertmanager.yml").write_text(yaml.safe_dump(self._configuration()))
            self._log = folder / "alertmanager.log"
            opened.enter_context(
                process(
                    self._log,
                    self._program,
                    f"--config.file={folder / 'alertmanager.yml'}",
                    f"--storage.path={folder / 'data'}",
                    f"--web.listen-address={self.address}",
                    # Alone: it looks for no others.
                    "--cluster.listen-address=",
                )
            )
            wait_ready(f"http://{self.address}/-/ready", self._log)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def log_text(self) -> str:
        """Return all that the process has logged."""
        return self._log.read_text()

    def _configuration(self) -> dict[str, Any]:
        return {
            "route": {
                "receiver": "test",
                # Each alert by itself: one that is new never waits for the turn of another's group.
                "group_by": ["..."],
                "group_wait": "0s",
                "group_interval": "1s",
                "repeat_interval": "1h",
            },
            "receivers": [{"name": "test", "webhook_configs": [{"url": self._receiver.url, "send_resolved": True}]}],
            "inhibit_rules": [dict(rule) for rule in self._inhibit_rules],
        }
