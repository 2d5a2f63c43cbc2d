"""What the cache makes of lists and watches that break off, come late, or tell of what cannot be taken."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from chatoperator.errors import KubeError
from chatoperator.kube import cache as cache_module
from chatoperator.kube.cache import Cache
from chatoperator.kube.kinds import FOLLOWED
from chatoperator.metadata import INSTANCE_LABEL, KIND, MANAGED_BY, MANAGED_BY_LABEL
from tests.support.scriptedapi import ScriptedApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from chatoperator.kube.lanes import Key

DEMO = ("chat", "demo")
# Names that the operator gives: others are not kept.
A, B, NEW, OLD, ODD = (f"demo-{part}" for part in ("chatserver", "postgres", "ingress", "front", "ingress-proxies"))


def made(name: str, version: int, **fields: Any) -> dict[str, Any]:
    """A Service of the ChatCluster demo."""
    labels = {INSTANCE_LABEL: "demo", MANAGED_BY_LABEL: MANAGED_BY}
    metadata = {"namespace": "chat", "name": name, "resourceVersion": str(version), "labels": labels}
    return {"kind": "Service", "metadata": metadata, **fields}


def bookmark(version: int) -> tuple[str, dict[str, Any]]:
    return "BOOKMARK", {"metadata": {"resourceVersion": str(version)}}


class Followed:
    """A cache that follows a scripted API server.

    Attributes:
        woken: ChatClusters in the order of their wakes.
    """

    def __init__(self, api: ScriptedApi, namespaces: Iterable[str] = ()) -> None:
        self.api = api
        self.seconds = 100.0
        self.woken: list[Key] = []
        self.cache = Cache(api, namespaces, monotonic=lambda: self.seconds)  # type: ignore[arg-type] # what it asks of one

    def services(self) -> set[str]:
        return {name for kind, name in self.cache.owned(DEMO) if kind == "Service"}

    @contextlib.asynccontextmanager
    async def until_silent(self, *kinds: str) -> AsyncIterator[None]:
        """Follow until the scripts of these kinds are at their end."""
        task = asyncio.create_task(self.cache.run(self.woken.append))
        try:
            async with asyncio.timeout(20):
                for kind in kinds or ("Service",):
                    await self.api.silent[kind].wait()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "BACKOFF_SECONDS", (0,))
    monkeypatch.setattr(cache_module, "MISSING_KIND_SECONDS", 0)
    monkeypatch.setattr(cache_module, "SHUT_NAMESPACE_SECONDS", 0)


OUTAGE, EXPIRED, ABSENT, SHUT = (KubeError("no", status) for status in (500, 410, 404, 403))


@pytest.mark.parametrize(
    ("watches", "versions", "lists"),
    [
        # One that ends by itself goes on where it ended: at the last news, or at a bookmark after them.
        ([[("MODIFIED", made(A, 11))]], ["10", "11"], 1),
        ([[("MODIFIED", made(A, 11)), bookmark(15)]], ["10", "15"], 1),
        ([[], []], ["10", "10", "10"], 1),
        # So does one that was cut, also after some news.
        ([[OUTAGE], [("MODIFIED", made(A, 12)), OUTAGE]], ["10", "10", "12"], 1),
        # Only what the API server has forgotten is listed again, and then it is watched from that list.
        ([[EXPIRED]], ["10", "20"], 2),
        ([[("MODIFIED", made(A, 13)), EXPIRED]], ["10", "20"], 2),
        # A kind that was removed is looked for by a list.
        ([[ABSENT]], ["10", "20"], 2),
    ],
)
async def test_a_watch_goes_on_where_the_last_one_ended(
    watches: list[list[Any]], versions: list[str], lists: int
) -> None:
    api = ScriptedApi()
    for version in (10, 20):
        api.will_list("Service", version, [made(A, 5)])
    for news in watches:
        api.will_watch("Service", *news)
    followed = Followed(api)
    async with followed.until_silent():
        assert [version for verb, kind, version in api.asked if (verb, kind) == ("watch", "Service")] == versions
        assert api.count("list", "Service") == lists
        assert followed.services() == {A}


async def test_what_a_relist_lacks_is_gone_and_wakes() -> None:
    api = ScriptedApi()
    api.will_list("Service", 10, [made(A, 5)], [made(B, 6)])
    api.will_watch("Service", EXPIRED)
    api.will_list("Service", 20, [made(B, 6)])
    followed = Followed(api)
    async with followed.until_silent():
        assert followed.services() == {B}
        assert followed.woken == [DEMO, DEMO], "once for the first list, once for what has gone"


async def test_a_list_that_breaks_off_takes_nothing_away_and_is_made_again() -> None:
    api = ScriptedApi()
    api.will_list("Service", 10, [made(A, 5), made(B, 6)])
    api.will_watch("Service", EXPIRED)
    api.will_list("Service", 20, [made(A, 5)], EXPIRED)
    api.will_list("Service", 30, [made(A, 5)], OUTAGE)
    api.will_list("Service", 40, [made(B, 6)])
    followed = Followed(api)
    async with followed.until_silent():
        assert followed.services() == {B}
        assert api.count("list", "Service") == 4
        assert ("watch", "Service", "40") in api.asked


async def test_an_object_deleted_while_it_is_listed_does_not_come_back() -> None:
    api = ScriptedApi()
    api.will_list("Service", 10, [made(A, 5), made(B, 6)])
    # The deletion is told before the change that came before it; both are later than the list.
    api.will_watch("Service", ("DELETED", made(A, 12)), ("MODIFIED", made(B, 11)))
    followed = Followed(api)
    async with followed.until_silent():
        # An answer of before, which has taken longer than the news.
        followed.cache.note(made(A, 9))
        assert followed.services() == {B}


async def test_what_was_written_during_a_list_outlives_it() -> None:
    """The list is of an earlier moment: what it lacks was made since."""
    api = ScriptedApi()
    api.will_list("Service", 10, [made(A, 5)])
    followed = Followed(api)
    followed.cache.note(made(NEW, 11))
    followed.cache.note(made(OLD, 9))
    async with followed.until_silent():
        assert followed.services() == {A, NEW}


async def test_older_news_never_take_the_place_of_a_newer_answer() -> None:
    api = ScriptedApi()
    api.will_list("Service", 10, [made(A, 5, spec={"n": 1})])
    followed = Followed(api)
    await followed.cache.refill()
    followed.cache.note(made(A, 14, spec={"n": 3}))
    api.will_list("Service", 12, [made(A, 11, spec={"n": 2})])
    await followed.cache.refill()
    assert followed.cache.owned(DEMO)["Service", A]["spec"] == {"n": 3}
    # Of the object that had this name before.
    api.will_watch("Service", ("DELETED", made(A, 13)))
    api.will_list("Service", 12, [made(A, 11)])
    async with followed.until_silent():
        assert followed.services() == {A}


async def test_an_object_that_cannot_be_taken_is_left_out_and_no_other() -> None:
    api = ScriptedApi()
    odd = made(ODD, 9)
    odd["metadata"]["resourceVersion"] = "not a number"
    api.will_list("Service", 10, [odd, made(A, 5)])
    api.will_watch("Service", ("ADDED", {**made(ODD, 11), "metadata": made(ODD, 11)["metadata"] | {"name": {}}}))
    api.will_watch("Service", ("ADDED", made(B, 12)))
    followed = Followed(api)
    with capture_logs() as logs:
        async with followed.until_silent():
            assert followed.services() == {A, B}
    failed = [(entry["loop"], entry["name"]) for entry in logs if entry["event"] == "loop failed"]
    assert failed == [("watch Service", ODD), ("watch Service", {})]


async def test_a_kind_that_is_not_served_keeps_nobody_waiting_and_is_found_later() -> None:
    api = ScriptedApi()
    for _ in range(3):
        api.will_list("Service", 0, ABSENT)
    api.will_list("Service", 10, [made(A, 5)])
    followed = Followed(api)
    await followed.cache.refill()
    async with asyncio.timeout(20):
        await followed.cache.filled("chat")
    assert not followed.cache.serves("Service")
    async with followed.until_silent():
        assert followed.cache.serves("Service")
        assert followed.services() == {A}


async def test_a_kind_that_goes_takes_its_objects_along() -> None:
    api = ScriptedApi()
    api.will_list("Service", 10, [made(A, 5)])
    api.will_watch("Service", ABSENT)
    api.will_list("Service", 0, ABSENT)
    api.will_list("Service", 20)
    followed = Followed(api)
    async with followed.until_silent():
        assert followed.services() == set()
        assert followed.woken == [DEMO, DEMO]


async def test_nobody_is_reconciled_before_each_kind_was_listed() -> None:
    """What exists would look as if it did not, and be made."""
    api = ScriptedApi()
    api.will_list("Secret", 0, OUTAGE)
    followed = Followed(api)
    with pytest.raises(KubeError):
        await followed.cache.refill()
    waiting = asyncio.create_task(followed.cache.filled("chat"))
    await asyncio.sleep(0)
    assert not waiting.done()
    async with followed.until_silent("Secret", KIND, "Pod"):
        async with asyncio.timeout(20):
            await waiting
        assert {kind for verb, kind, _ in api.asked if verb == "list"} == set(FOLLOWED)


async def test_a_namespace_that_may_not_be_read_keeps_no_other_from_being_followed() -> None:
    api = ScriptedApi()
    # Which of the two is asked first decides who gets it; it is listed again when it may be read.
    api.will_list("Service", 0, SHUT)
    api.will_list("Service", 10, [made(A, 5)])
    followed = Followed(api, ["gone", "chat"])
    with capture_logs() as logs:
        async with followed.until_silent():
            await _until_shut_is_over(followed)
    assert not [entry for entry in logs if entry["event"] == "watch failed"], "that a Role is gone is no outage"


async def test_where_there_is_one_namespace_a_refusal_is_an_outage() -> None:
    api = ScriptedApi()
    api.will_list("Service", 0, SHUT)
    followed = Followed(api, ["chat"])
    with capture_logs() as logs:
        async with followed.until_silent():
            pass
    assert [entry["kind"] for entry in logs if entry["event"] == "watch failed"] == ["Service"]


async def _until_shut_is_over(followed: Followed) -> None:
    api = followed.api
    async with asyncio.timeout(20):
        await followed.cache.filled("chat")
        while api.count("list", "Service") < 3:
            await asyncio.sleep(0)
    assert followed.services() == {A}
    assert {place for verb, kind, place in api.asked if (verb, kind) == ("list", "Service")} == {"gone", "chat"}


async def test_what_is_asked_again_counts_also_where_it_is_gone() -> None:
    api = ScriptedApi()
    api.will_list("Service", 10, [made(A, 5), made(B, 6)])
    followed = Followed(api)
    await followed.cache.refill()
    api.objects["Service", B] = made(B, 12, spec={"n": 2})
    assert await followed.cache.look_again("Service", "chat", A) is None
    assert await followed.cache.look_again("Service", "chat", B) is not None
    assert followed.services() == {B}
    assert followed.cache.owned(DEMO)["Service", B]["spec"] == {"n": 2}


async def test_the_longest_silence_is_that_of_the_kind_that_was_last_heard_of_longest_ago() -> None:
    api = ScriptedApi()
    followed = Followed(api)
    followed.seconds = 130.0
    assert followed.cache.silent_seconds() == 30
    await followed.cache.refill()
    followed.seconds = 140.0
    api.will_list(FOLLOWED[-1], 0, OUTAGE)
    with pytest.raises(KubeError):
        await followed.cache.refill()
    followed.seconds = 147.0
    assert followed.cache.silent_seconds() == 17
    await followed.cache.refill()
    assert followed.cache.silent_seconds() == 0
