"""How soon a running operator does what it has to, by the API server's own account of the requests."""

from __future__ import annotations

import datetime as dt
import signal
import statistics
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.apiserver import OPERATOR_USER
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.operator_processes import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.operator_processes import Operators

pytestmark = pytest.mark.integration

SOON_SECONDS = 10
"""Of a change and of a deleted child: the promise to the admin. On a machine with nothing else to do it is a moment."""

TIMES = 3

Request = dict[str, Any]


class Audit:
    """The requests about one namespace's objects.

    Args:
        operators: Whose namespace it is.
    """

    def __init__(self, operators: Operators) -> None:
        self._operators = operators
        self._offset = operators.server.audit_end()
        self._requests: list[Request] = []

    async def first(self, what: str, since: dt.datetime, holds: Callable[[Request], bool]) -> Request:
        """Wait for the first request after a moment for which something holds."""
        found: list[Request] = []

        async def there() -> bool:
            new, self._offset = self._operators.server.audit_from(self._offset, f'"{self._operators.namespace}"')
            self._requests += new
            found[:] = [
                one
                for one in self._requests
                if one.get("objectRef", {}).get("namespace") == self._operators.namespace
                and ended(one) > since
                and httpx.codes.is_success(one["responseStatus"]["code"])
                and holds(one)
            ]
            return bool(found)

        await until(there, what, PATIENCE_SECONDS, poll_seconds=0.1)
        return found[0]


def ended(request: Request) -> dt.datetime:
    """When the API server had answered it."""
    return dt.datetime.fromisoformat(request["stageTimestamp"])


def about(
    resource: str, verb: str | None = None, *, operators: bool, name: str | None = None
) -> Callable[[Request], bool]:
    """Whether a request is about objects of a kind; by the operator, or by an admin."""

    def holds(one: Request) -> bool:
        return (
            one["objectRef"]["resource"] == resource
            and verb in (None, one["verb"])
            and one["verb"] not in {"get", "list", "watch"}
            and name in (None, one["objectRef"].get("name"))
            and (one["user"]["username"] == OPERATOR_USER) is operators
        )

    return holds


async def test_a_change_a_deleted_child_and_a_killed_operator(operators: Operators, minimal: dict[str, Any]) -> None:
    audit = Audit(operators)
    leader = operators.start("operator-a")
    await operators.leads(leader)
    start = dt.datetime.now(dt.UTC)
    operators.admin.create(minimal)
    await audit.first("a proxy is wanted", start, about("deployments", operators=True))
    changes, deletions = [], []
    for number in range(TIMES):
        now = dt.datetime.now(dt.UTC)
        operators.admin.patch("ChatCluster", "demo", {"spec": {"ingress": {"replicas": 3 + number}}})
        asked = await audit.first("a change", now, about("chatclusters", "patch", operators=False))
        written = await audit.first("its first write", ended(asked), about("deployments", operators=True))
        changes.append((ended(written) - ended(asked)).total_seconds())
        now = dt.datetime.now(dt.UTC)
        operators.admin.delete("Service", "demo-chatserver")
        gone = await audit.first("a deletion", now, about("services", "delete", operators=False))
        again = await audit.first("the child made anew", ended(gone), about("services", operators=True))
        deletions.append((ended(again) - ended(gone)).total_seconds())
    tell(f"change to first write: {_spread(changes)}; child deleted to made anew: {_spread(deletions)}")
    assert max(changes + deletions) < SOON_SECONDS

    killed = dt.datetime.now(dt.UTC)
    leader.send(signal.SIGKILL)
    await leader.ended()
    operators.admin.delete("Service", "demo-chatserver")
    operators.start("operator-a")
    again = await audit.first("the child made anew", killed, about("services", operators=True))
    took = (ended(again) - killed).total_seconds()
    tell(f"the only operator killed and started again at once: it reconciled after {took:.1f} s")


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (at most {max(seconds):.2f} s)"
