"""A real Kubernetes API server on a real etcd for tests: no controllers, no nodes, everything else as in production."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from localcluster import toolchain
from localcluster.progress import Stage
from tests.support import orphans
from tests.support.admin import Admin, connection
from tests.support.ports import free_ports

START_SECONDS = 90
"""Seconds both may take on a loaded machine."""

ADMIN_TOKEN = "admin-of-a-test-server"
OPERATOR_TOKEN = "operator-of-a-test-server"

OPERATOR_USER = "operator"
"""May do nothing until a test binds a role to it."""

RELEASE_TOKEN = "release-of-a-test-server"

RELEASE_USER = "system:serviceaccount:chatcluster-system:chatcluster-operator"
"""The service account of the chart's release as README installs it, which the tests of one reconcile act as."""

CONTROLLERS_LOG = "kube-controller-manager.log"

CERTIFICATES = "certs"
"""Folder where the API server puts its own certificate, and the authority's that signed it."""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running API server.

    Attributes:
        url: Without the last slash.
        folder: Its files.
        kubectl: The program, of the same version.
        controller_manager: The program, likewise.
        pids: Of its processes, by name.
        client: A connection as the admin.
    """

    url: str
    folder: Path
    kubectl: Path
    controller_manager: Path
    pids: Mapping[str, int]
    client: httpx.Client

    def kubeconfig(self, token: str = ADMIN_TOKEN, name: str = "admin") -> Path:
        """A kubeconfig for a token."""
        path = self.folder / f"{name}.kubeconfig"
        # Another program may be reading the one that is there, and another thread be here, too.
        made = path.with_suffix(f".{threading.get_ident()}")
        # Without an authority of its own, each of the operator's clients would read all of the machine's.
        cluster = {"server": self.url, "certificate-authority": str(self.folder / CERTIFICATES / "apiserver.crt")}
        made.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": name, "user": {"token": token}}],
                    "contexts": [{"name": name, "context": {"cluster": "test", "user": name}}],
                    "current-context": name,
                }
            )
        )
        made.replace(path)
        return path

    def admin(self, namespace: str) -> Admin:
        """An admin of a namespace, who needs no process for what kubectl does."""
        return Admin(self.client, namespace)

    def run_kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the admin; the result may be a refusal."""
        return subprocess.run(
            [str(self.kubectl), *arguments],
            input=stdin,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig())},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextlib.contextmanager
    def controllers(self, *names: str, options: Sequence[str] = ()) -> Iterator[int]:
        """Run some of Kubernetes' own controllers, by the controller manager's names; gives the process's id."""
        # Else they would make pods for what all tests before have left: half a minute of CPU.
        orphans.collect(self.client)
        with process(
            self.folder / CONTROLLERS_LOG,
            str(self.controller_manager),
            f"--kubeconfig={self.kubeconfig()}",
            f"--controllers={','.join(names)}",
            "--leader-elect=false",
            "--secure-port=0",
            # What a test waits for is theirs: at 20 requests a second that takes long.
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            *options,
        ) as started:
            yield started.pid

    def controllers_log(self) -> str:
        """What these controllers have printed last."""
        return "\n".join((self.folder / CONTROLLERS_LOG).read_text().splitlines()[-60:])

    @contextlib.contextmanager
    def beside(self, program: Path) -> Iterator[None]:
        """Run another program that takes a kubeconfig, as the admin."""
        with process(self.folder / f"{program.name}.log", str(program), f"--kubeconfig={self.kubeconfig()}"):
            yield

    def audit(self, about: str) -> list[dict[str, Any]]:
        """The requests so far in whose record a text is, such as `/namespaces/chat-1/`, oldest first."""
        return self.audit_from(0, about)[0]

    def audit_from(self, offset: int, about: str = "") -> tuple[list[dict[str, Any]], int]:
        """The requests after an offset in the audit log, oldest first, and the offset after them.

        Args:
            offset: In bytes.
            about: A text in the records of those that are returned. Decoding a whole run's takes seconds.
        """
        with (self.folder / "audit.log").open("rb") as log:
            log.seek(offset)
            # The last line may still be on its way.
            lines, newline, _ = log.read().rpartition(b"\n")
        wanted = about.encode()
        return [json.loads(line) for line in lines.splitlines() if wanted in line], offset + len(lines + newline)

    def audit_end(self) -> int:
        """The offset after the requests so far."""
        return (self.folder / "audit.log").read_bytes().rfind(b"\n") + 1


@contextlib.contextmanager
def running() -> Iterator[ApiServer]:
    """Start etcd and the API server, and stop both."""
    folder = Path(tempfile.mkdtemp(prefix="chat-api-"))
    log = folder / "build.log"
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
    programs = {name: made / name for name, made in toolchain.ensure_all(names, Stage("Kubernetes API"), log).items()}
    port, etcd_port, peer_port = free_ports(3)
    _write_inputs(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        etcd_process = stack.enter_context(
            process(
                folder / "etcd.log",
                str(programs["etcd"]),
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
                f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
                f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
                "--unsafe-no-fsync",
            )
        )
        server_process = stack.enter_context(
            process(
                folder / "kube-apiserver.log",
                str(programs["kube-apiserver"]),
                f"--etcd-servers=http://127.0.0.1:{etcd_port}",
                "--bind-address=127.0.0.1",
                # Of the documentation's: nobody uses it, and without it a network without routes would not do.
                "--advertise-address=192.0.2.1",
                f"--secure-port={port}",
                f"--cert-dir={folder / CERTIFICATES}",
                # Room for the Services of thousands of ChatClusters.
                "--service-cluster-ip-range=10.0.0.0/16",
                "--authorization-mode=RBAC",
                # As every cluster has it whose own network and storage need it.
                "--allow-privileged=true",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--service-account-issuer=https://test.invalid",
                f"--service-account-key-file={folder / 'sa.key'}",
                f"--service-account-signing-key-file={folder / 'sa.key'}",
                # Off by default in this Kubernetes.
                "--feature-gates=MutatingAdmissionPolicy=true",
                "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
                # Its controller, which makes the default accounts, does not run here.
                "--disable-admission-plugins=ServiceAccount",
                f"--audit-policy-file={folder / 'audit.json'}",
                f"--audit-log-path={folder / 'audit.log'}",
            )
        )
        url = f"https://127.0.0.1:{port}"
        _wait(url, folder / "kube-apiserver.log")
        yield ApiServer(
            url=url,
            folder=folder,
            kubectl=programs["kubectl"],
            controller_manager=programs["kube-controller-manager"],
            pids={"etcd": etcd_process.pid, "kube-apiserver": server_process.pid},
            client=stack.enter_context(connection(url, ADMIN_TOKEN)),
        )


def _write_inputs(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "sa.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "tokens.csv").write_text(
        f'{ADMIN_TOKEN},admin,admin,"system:masters"\n{OPERATOR_TOKEN},{OPERATOR_USER},{OPERATOR_USER}\n'
        f"{RELEASE_TOKEN},{RELEASE_USER},{RELEASE_USER}\n"
    )
    (folder / "audit.json").write_text(json.dumps(AUDIT_POLICY))


@contextlib.contextmanager
def process(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in Go until the block ends; what it prints goes to the log."""
    # They collect when the heap has grown to five times what was in use, not to twice: a fifth of their CPU.
    environment = {**os.environ, "GOGC": "400"}
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent, env=environment) as started,
    ):
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()


def _wait(url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            # Its certificate is its own.
            answer = httpx.get(
                f"{url}/readyz",
                headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
                verify=False,  # noqa: S501
            )
            if answer.status_code == httpx.codes.OK:
                return
        time.sleep(0.3)
    raise AssertionError(f"the API server did not start:\n{log.read_text()[-3000:]}")
