"""kind, kubectl and Helm come from the PATH, a checked download or Go, in this order, and each says which it was."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from localcluster import programs, releases
from localcluster.progress import LocalClusterError, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = b"#!/bin/sh\necho v1.34.4\n"

PATHS = {
    "kind": "github.com/kubernetes-sigs/kind/releases/download/v0.30.0/kind-linux-amd64",
    "kubectl": "dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubectl",
    "helm": "get.helm.sh/helm-v3.19.5-linux-amd64.tar.gz",
}


@dataclass
class Mirror:
    """An HTTP server with these files; it answers as a proxy, too.

    Attributes:
        files: content by path.
        cut: sends only so many bytes of each.
        asked: the request targets, as they came.
    """

    files: dict[str, bytes]
    cut: int | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(mirror: Mirror) -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.asked.append(self.path)
            content = next((body for path, body in mirror.files.items() if self.path.endswith(path)), None)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[: mirror.cut])

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()


def archive() -> bytes:
    """A tar.gz as Helm publishes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as written:
        entry = tarfile.TarInfo("linux-amd64/helm")
        entry.size = len(PROGRAM)
        written.addfile(entry, io.BytesIO(PROGRAM))
    return buffer.getvalue()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """What is published, with checksums that fit; no program but what the test adds is on the PATH."""
    files = {PATHS["kind"]: PROGRAM, PATHS["kubectl"]: PROGRAM, PATHS["helm"]: archive()}
    pinned = {
        name: replace(release, sha256={"linux-amd64": hashlib.sha256(files[PATHS[name]]).hexdigest()})
        for name, release in releases.RELEASES.items()
    }
    monkeypatch.setattr(releases, "RELEASES", pinned)
    monkeypatch.setattr(releases, "_platform", lambda: "linux-amd64")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(Mirror(files)) as served:
        monkeypatch.setenv(releases.MIRROR_VARIABLE, f"{served.url}/files/")
        yield served


def install(tmp_path: Path, name: str, script: str) -> Path:
    path = tmp_path / "path" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["kind", "kubectl", "helm"])
def test_without_go_a_checked_release_binary_is_downloaded_once(
    name: str, mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find = {"kind": programs.kind, "kubectl": programs.kubectl, "helm": programs.helm}[name]
    found = [find(Stage(name), tmp_path / "log") for _ in range(2)]
    assert found[0] == found[1] == programs.in_cache(name)
    assert found[0].read_bytes() == PROGRAM
    assert found[0].stat().st_mode & 0o777 == 0o755
    assert mirror.asked == [f"/files/{PATHS[name]}"]
    version = releases.RELEASES[name].version
    assert capsys.readouterr().out.splitlines() == [
        f"    {name}: {version}, downloaded",
        f"    {name}: {version}, from the cache",
    ]
    assert [path.name for path in found[0].parent.parent.iterdir() if path.name != "lock"] == [f"{name}-{version}"]


@pytest.mark.parametrize(
    ("name", "says", "suits"),
    [
        ("kubectl", "Client Version: v1.33.1", True),
        ("kubectl", "Client Version: v1.35.0", True),
        ("kubectl", "Client Version: v1.32.9", False),
        ("kubectl", "Client Version: v1.36.0", False),
        ("kind", "kind v0.30.0 go1.24.6 linux/amd64", True),
        ("kind", "kind v0.31.0 go1.25.5 linux/amd64", False),
        ("helm", "v3.14.0", True),
        ("helm", "v4.0.1", True),
        ("helm", "v3.13.9", False),
        ("helm", "broken", False),
    ],
)
def test_an_installed_program_is_used_where_its_version_suits(
    name: str, says: str, *, suits: bool, mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = install(tmp_path, name, f"echo '{says}'")
    find = {"kind": programs.kind, "kubectl": programs.kubectl, "helm": programs.helm}[name]
    assert (find(Stage(name), tmp_path / "log") == installed) is suits
    assert bool(mirror.asked) is not suits
    assert ("from the PATH" in capsys.readouterr().out) is suits


def test_what_is_not_the_pinned_file_is_never_used(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files[PATHS["kind"]] = b"<html>Sign in to the network</html>"
    with pytest.raises(LocalClusterError, match=r"kind-linux-amd64 is not kind v0\.30\.0: its SHA-256 is"):
        programs.kind(Stage("kind"), tmp_path / "log")
    assert programs.in_cache("kind") is None


def test_a_download_that_breaks_off_is_not_used(mirror: Mirror, tmp_path: Path) -> None:
    mirror.cut = 5
    with pytest.raises(LocalClusterError, match=r"broke off after 5 of|IncompleteRead"):
        programs.kubectl(Stage("kubectl"), tmp_path / "log")
    assert programs.in_cache("kubectl") is None


def test_a_file_without_end_is_given_up(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "MAX_BYTES", 1 << 20)
    mirror.files[PATHS["kind"]] = bytes(2 << 20)
    with pytest.raises(LocalClusterError, match="has more than 1 MiB"):
        programs.kind(Stage("kind"), tmp_path / "log")


def test_without_a_way_to_have_it_the_error_names_the_address_and_what_to_do(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files.clear()
    with pytest.raises(LocalClusterError) as caught:
        programs.kind(Stage("kind"), tmp_path / "log")
    assert f"{mirror.url}/files/{PATHS['kind']}: HTTP Error 404" in str(caught.value)
    assert "`go` is not on the PATH" in str(caught.value)
    for way in ("HTTPS_PROXY", releases.MIRROR_VARIABLE, "install kind v0.30.0", "https://go.dev/dl/"):
        assert way in caught.value.remedy


def test_with_go_a_failed_download_is_named_and_the_program_built(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.files.clear()
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.setattr(programs, "_installed", lambda _: None)
    install(tmp_path, "go", 'echo built > "$GOBIN/kind"')
    found = programs.kind(Stage("kind"), tmp_path / "log")
    assert found.read_text() == "built\n"
    said = capsys.readouterr().out
    assert "HTTP Error 404" in said
    assert "kind: v0.30.0, built from its Go modules" in said


def test_the_usual_proxy_variables_are_followed(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(releases.MIRROR_VARIABLE, "http://files.invalid")
    monkeypatch.setenv("http_proxy", mirror.url)
    programs.kind(Stage("kind"), tmp_path / "log")
    assert mirror.asked == [f"http://files.invalid/{PATHS['kind']}"]


def test_each_release_is_pinned_for_both_architectures_and_has_its_published_address() -> None:
    for name, release in releases.RELEASES.items():
        assert set(release.sha256) == {"linux-amd64", "linux-arm64"}
        assert all(len(bytes.fromhex(digest)) == 32 for digest in release.sha256.values())
        assert releases.address(release, "linux-amd64") == f"https://{PATHS[name]}"
    with pytest.raises(LocalClusterError, match="no release binary is pinned for linux-riscv64"):
        releases.address(releases.RELEASES["kind"], "linux-riscv64")
