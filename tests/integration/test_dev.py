"""`chatserver dev` as a process: a whole chat from one command, of which nothing is left when it ends."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from chatserver.dev.programs import EmbeddedPostgresError, find_binaries, wheel_binaries
from tests.support.findings import tell
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

WAIT_SECONDS = 60
"""Far beyond what it needs, on a loaded machine too."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user who runs PostgreSQL may enter, whoever that is: pytest's own is private."""
    path = Path(tempfile.mkdtemp(prefix="chat-dev-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class DevServer:
    """One `chatserver dev` whose temporary files are in a folder of the test."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self._output = folder / "output"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chatserver", "dev", *arguments],
                env={"PATH": os.environ["PATH"], "TMPDIR": str(self.temporary), **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # As a terminal starts it: who runs these tests in the background may have Ctrl-C ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs
            )

    def text(self) -> str:
        return self._output.read_text()

    def wait_url(self) -> str:
        """Return the printed address."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            matched = re.search(r"^Chat is ready: (http://127\.0\.0\.1:\d+)/ .*\n.*\n", self.text(), re.MULTILINE)
            if matched is not None:
                return matched[1]
            assert self.process.poll() is None, self.text()
            time.sleep(0.02)
        raise TimeoutError(self.text())

    def database_processes(self) -> list[int]:
        """Return the ids of the PostgreSQL's processes: those that name the temporary folder or descend from one."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                cwd = (entry / "cwd").readlink()
            except OSError:
                continue
            if str(self.temporary) in command or cwd.is_relative_to(self.temporary):
                found.append(int(entry.name))
        return found

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)


@contextmanager
def dev_server(folder: Path, *arguments: str, **settings: str) -> Iterator[DevServer]:
    server = DevServer(folder, *arguments, **settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)
        wait_gone(server)


def wait_gone(server: DevServer, data: Path | None = None) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while server.database_processes() or (data is not None and (data / "postmaster.pid").exists()):
        assert time.monotonic() < deadline, server.database_processes()
        time.sleep(0.05)


def sign_in(url: str, number: str, name: str) -> httpx.Client:
    code = httpx.post(f"{url}/api/auth/code", json={"phone_number": number}, verify=NO_TLS, trust_env=False).json()[
        "dev_code"
    ]
    body = {"phone_number": number, "code": code, "username": name}
    token = httpx.post(f"{url}/api/auth/session", json=body, verify=NO_TLS, trust_env=False).json()["token"]
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, verify=NO_TLS, trust_env=False)


def test_one_command_is_a_whole_chat_and_ctrl_c_leaves_nothing(folder: Path) -> None:
    started = time.monotonic()
    with dev_server(folder, "--port", "0") as server:
        url = server.wait_url()
        tell(f"chatserver dev answered {time.monotonic() - started:.1f} s after it was started")
        page = httpx.get(url, verify=NO_TLS, trust_env=False)
        assert (page.status_code, "<html" in page.text) == (200, True)
        with sign_in(url, "+14155550101", "ana") as ana, sign_in(url, "+14155550102", "ben") as ben:
            assert ana.post("/api/messages", json={"to": "ben", "text": "hello"}).status_code == httpx.codes.OK
            assert [row["text"] for row in ben.get("/api/messages").json()] == ["hello"]
        assert server.database_processes()
        assert server.end() == 0, server.text()
        assert server.database_processes() == []
        assert list(server.temporary.iterdir()) == []


def test_printed_command_asks_for_a_code(folder: Path) -> None:
    with dev_server(folder, "--port", "0") as server:
        server.wait_url()
        (line,) = [line for line in server.text().splitlines() if line.startswith("Try: ")]
        answer = subprocess.run(shlex.split(line.removeprefix("Try: ")), check=True, capture_output=True, text=True)
        assert '"dev_code"' in answer.stdout


def test_named_folder_keeps_messages_and_belongs_to_one_server(folder: Path) -> None:
    data = folder / "some" / "chat"
    with dev_server(folder, "--port", "0", "--data", str(data)) as server:
        url = server.wait_url()
        with sign_in(url, "+14155550101", "ana") as ana:
            assert ana.post("/api/messages", json={"to": "ana", "text": "kept"}).status_code == httpx.codes.OK
        with httpx.Client(base_url=url, verify=NO_TLS, trust_env=False) as page:
            code = page.post("/api/auth/code", json={"phone_number": "+14155550102"}).json()["dev_code"]
            body = {"phone_number": "+14155550102", "code": code, "cookie": True}
            session = page.post("/api/auth/session", json=body).headers["Set-Cookie"]
        assert re.fullmatch("chat-[0-9a-f]{16}=.*; Path=/; HttpOnly; SameSite=Strict", session)
        second = folder / "second"
        second.mkdir(mode=0o755)
        with dev_server(second, "--port", "0", "--data", str(data)) as other:
            assert other.process.wait(WAIT_SECONDS) == 1
            assert "is in use" in other.text()
        assert httpx.get(f"{url}/readyz", verify=NO_TLS, trust_env=False).status_code == httpx.codes.OK
        # Killed: the database ends by itself, and the next start finds it whole.
        server.end(signal.SIGKILL)
        wait_gone(server, data)
    with dev_server(folder, "--port", "0", "--data", str(data)) as server:
        with sign_in(server.wait_url(), "+14155550101", "ana") as ana:
            assert [row["text"] for row in ana.get("/api/messages").json()] == ["kept"]
            # Of a page, in a session that has outlived the server.
            del ana.headers["Authorization"]
            me = ana.get("/api/users/me", headers={"Cookie": session.partition(";")[0]})
            assert me.status_code == httpx.codes.OK
        assert server.end(signal.SIGTERM) == 0
    assert (data / "PG_VERSION").exists()


def test_wheel_brings_a_postgresql_to_a_machine_without_one(folder: Path) -> None:
    programs = wheel_binaries()
    assert programs is not None

    with dev_server(folder, "--port", "0", "--postgres", str(programs)) as server:
        with sign_in(server.wait_url(), "+14155550101", "ana") as ana:
            assert ana.post("/api/messages", json={"to": "ana", "text": "x"}).status_code == httpx.codes.OK
        assert server.end() == 0, server.text()
    assert list(server.temporary.iterdir()) == []


def test_private_programs_are_run_by_another_user(folder: Path) -> None:
    programs = wheel_binaries()
    assert programs is not None
    private, package = folder / "private", programs.parent.parent
    shutil.copytree(package, private / package.name)
    shutil.copytree(package.with_suffix(".libs"), private / f"{package.name}.libs")
    private.chmod(0o700)
    copied = private / programs.relative_to(package.parent)
    with dev_server(folder, "--port", "0", "--postgres", str(copied)) as server:
        server.wait_url()
        assert server.end() == 0, server.text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_while_it_starts_it_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    with dev_server(folder, "--port", "0") as server:
        while not list(server.temporary.glob("chat-dev-*/data")):
            assert server.process.poll() is None, server.text()
            time.sleep(0.01)
        assert server.end(number) == 130
        wait_gone(server)
        assert list(server.temporary.iterdir()) == []
        assert server.text() == ""


def test_taken_port_is_told_and_leaves_nothing(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with dev_server(folder, "--port", str(port)) as server:
            assert server.process.wait(WAIT_SECONDS) == 1
            assert f"port {port}" in server.text()
            assert "--port" in server.text()
            assert server.database_processes() == []
            assert list(server.temporary.iterdir()) == []


def test_foreign_folders_are_refused_in_words(folder: Path) -> None:
    foreign = folder / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").touch()
    for arguments, words in (
        (("--data", str(foreign)), "holds something else"),
        (("--postgres", str(foreign)), "holds no initdb"),
    ):
        with dev_server(folder, "--port", "0", *arguments) as server:
            assert server.process.wait(WAIT_SECONDS) == 1
            assert words in server.text()
            assert len(server.text().splitlines()) == 1
    assert [path.name for path in foreign.iterdir()] == ["cat.jpg"]


def test_database_of_another_version_is_refused_in_words(folder: Path) -> None:
    data = folder / "old"
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")
    with dev_server(folder, "--port", "0", "--data", str(data)) as server:
        assert server.process.wait(WAIT_SECONDS) == 1
        assert "made by PostgreSQL 9" in server.text()


def test_wrong_setting_is_told_before_anything_is_made(folder: Path) -> None:
    with dev_server(folder, "--port", "0", CHAT_SESSION_DAYS="-1") as server:
        assert server.process.wait(WAIT_SECONDS) == 2
        assert "CHAT_SESSION_DAYS" in server.text()


def test_machine_without_postgresql_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(EmbeddedPostgresError, match="extra `dev`"):
        find_binaries(None, folders=())
