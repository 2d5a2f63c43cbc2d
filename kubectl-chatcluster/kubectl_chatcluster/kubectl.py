"""Runs the user's kubectl: the plugin's only way to the cluster, with their contexts, plugins and proxies."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kubectl_chatcluster.errors import KubectlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

COMMAND_SECONDS = 120
"""No single question takes so long, logs of a large cluster included."""

PARALLEL = 6
"""Programs at once: each takes tens of milliseconds to start."""

MISSING_TYPE = re.compile(r"doesn't have a resource type|could not find the requested resource")
SERVER_ERROR = re.compile(r"Error from server \((?P<reason>\w+)\): (?P<message>.*)", re.DOTALL)
FORBIDDEN = re.compile(
    r"cannot (?P<verb>\w+) resource \"(?P<resource>[^\"]+)\"(?: in API group \"(?P<group>[^\"]*)\")?"
)
SCOPE = re.compile(r"in the namespace \"([^\"]+)\"")


@dataclass(frozen=True)
class Kubectl:
    """A kubectl with the user's own flags.

    Attributes:
        program: Path of the binary.
        flags: Such as `--context=staging`, given to each call.
    """

    program: str
    flags: tuple[str, ...] = ()

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run it once and return what it printed.

        Raises:
            KubectlError: It failed; the text names the remedy.
        """
        try:
            done = subprocess.run(  # noqa: S603 - the user's kubectl with a list of arguments, never a shell
                [self.program, *self.flags, *arguments],
                input=stdin if stdin is not None else "",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(
                f"kubectl {arguments[0]} did not finish within {COMMAND_SECONDS} s; check the connection to the "
                f"API server"
            ) from None
        if done.returncode:
            raise translate(done.stderr)
        return done.stdout

    def get(self, resource: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """One object.

        Args:
            resource: Such as `pods`.
            name: Of the object.
            namespace: None: the one of the user's flags or context.

        Raises:
            KubectlError: There is none, or it may not be read.
        """
        found: dict[str, Any] = json.loads(self.run("get", resource, name, "-o", "json", *_in(namespace)))
        return found

    def list(
        self, resource: str, namespace: str | None = None, *, selector: str = "", everywhere: bool = False
    ) -> list[dict[str, Any]]:
        """All objects of a kind, in a namespace or everywhere.

        Raises:
            KubectlError: They may not be listed.
        """
        where = ("--all-namespaces",) if everywhere else _in(namespace)
        which = ("-l", selector) if selector else ()
        found: list[dict[str, Any]] = json.loads(self.run("get", resource, "-o", "json", *which, *where))["items"]
        return found

    def raw(self, path: str, *, timeout_seconds: int) -> str:
        """GET a path of the API, such as a pod's metrics through its proxy.

        Raises:
            KubectlError: It was refused or nobody answered.
        """
        return self.run("get", "--raw", path, f"--request-timeout={timeout_seconds}s")

    def post(self, path: str, body: dict[str, Any]) -> None:
        """POST an object to a path of the API.

        Raises:
            KubectlError: It was refused.
        """
        self.run("create", "--raw", path, "-f", "-", stdin=json.dumps(body))

    def namespace(self) -> str:
        """The namespace that a command without one speaks of."""
        given = [flag.removeprefix("--namespace=") for flag in self.flags if flag.startswith("--namespace=")]
        if given:
            return given[-1]
        printed = self.run("config", "view", "--minify", "-o", "jsonpath={..namespace}")
        return printed.strip() or "default"


def find(flags: Sequence[str]) -> Kubectl:
    """The kubectl of the PATH, with the user's flags.

    Raises:
        KubectlError: There is none.
    """
    program = shutil.which("kubectl")
    if program is None:
        raise KubectlError("kubectl is not on the PATH; install it: https://kubernetes.io/docs/tasks/tools/")
    return Kubectl(program, tuple(flags))


def side_by_side(items: Iterable[Item], call: Callable[[Item], Result]) -> list[Result]:
    """Call a function for all items at once and return the results in their order; the first error is raised."""
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        return list(pool.map(call, items))


def translate(stderr: str) -> KubectlError:
    """Make an error from what kubectl said.

    Example:
        >>> translate('Error from server (NotFound): pods "a" not found').reason
        'NotFound'
    """
    text = stderr.strip()
    if MISSING_TYPE.search(text):
        return KubectlError(f"{text}. Check that the operator and its CRD are installed in this cluster", "NoSuchType")
    match = SERVER_ERROR.search(text)
    if match is None:
        return KubectlError(text or "kubectl failed without an error message")
    reason, message = match["reason"], match["message"].strip()
    if reason == "Forbidden":
        return KubectlError(_missing_right(message), reason)
    return KubectlError(message, reason)


def _missing_right(message: str) -> str:
    denied = FORBIDDEN.search(message)
    if denied is None:
        return message
    resource = denied["resource"] + (f".{denied['group']}" if denied["group"] else "")
    scope = SCOPE.search(message)
    where = f" in namespace {scope[1]}" if scope else " in the whole cluster"
    return (
        f"you are not allowed to {denied['verb']} {resource}{where}: request a role with that verb from "
        f"your cluster admin"
    )


def _in(namespace: str | None) -> tuple[str, ...]:
    return ("-n", namespace) if namespace else ()
