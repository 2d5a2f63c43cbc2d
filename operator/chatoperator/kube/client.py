"""The requests of the operator to the Kubernetes API, as plain JSON objects."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from chatoperator.errors import KubeError
from chatoperator.kube.bodies import ANSWER_BYTES_MAX, as_yaml, lines
from chatoperator.kube.decoding import decode
from chatoperator.kube.kinds import path_of
from chatoperator.kube.lease import Lease
from chatoperator.kube.transport import Transport, client_of, decoded, translated
from chatoperator.metadata import FIELD_MANAGER, KIND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence

    from chatoperator.metadata import Manifest

PAGE_OBJECTS = 250
"""Of a list at a time: 250 ChatClusters are about 2.5 MB of text, and ten times that while they are parsed."""

EVENTS_MAX = 50
"""Of one reason about one object. Controllers count a repeated Event up; each other pod's name makes another."""

EVENTS_BYTES_MAX = 512 * 1024
"""Of these. Controllers' have 1 KB each, but anybody's may have a megabyte."""

PAGE_BYTES_MAX, PAGE_VALUES_MAX = 4 * 1024 * 1024, 400_000
"""Of a page. One that is larger is requested again with fewer objects: a single one has 1.5 MB at most."""

WATCH_SECONDS = 30
"""A watch ends after this time and is started again where it ended, which costs next to nothing. One that was cut
without a word is noticed by it."""

WATCH_GRACE_SECONDS = 5
"""For the API server to end a watch before it counts as cut."""

FORBIDDEN, NOT_FOUND, CONFLICT = 403, 404, 409

Items = list["Manifest"]

Page = tuple[Items, str]
"""Some of a list's objects, and the list's resourceVersion."""

Event = tuple[str, "Manifest"]
"""An event of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""


class Kube(Transport):
    """Requests to the API server.

    Every method raises KubeError where the API server refuses or does not answer.
    """

    def lease(self, namespace: str, name: str, identity: str) -> Lease:
        """A seat for one operator process among several.

        Args:
            namespace: Of the Lease.
            name: Of the Lease.
            identity: Of this process.
        """
        return Lease(self._api, namespace, name, identity)

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, or None where it does not exist."""
        return await _none_where_gone(self._request("GET", path_of(kind, namespace, name)))

    async def list(self, kind: str, namespace: str | None = None, selector: str | None = None) -> Items:
        """Objects of a kind in one namespace, or in all for None."""
        return [found async for items, _ in self.pages(kind, namespace, selector) for found in items]

    async def pages(self, kind: str, namespace: str | None = None, selector: str | None = None) -> AsyncIterator[Page]:
        """The same bit by bit, as it was at one moment; each page with that moment's resourceVersion, to watch from.

        Raises:
            KubeError: Also with status 410, where the moment was too long ago for the rest.
        """
        more: str | None = None
        limit = PAGE_OBJECTS
        while more != "":
            query = {"labelSelector": selector, "limit": str(limit), "continue": more}
            most = PAGE_BYTES_MAX if limit > 1 else ANSWER_BYTES_MAX
            text = await self._read("GET", path_of(kind, namespace), query, bytes_max=most)
            if text is None and limit == 1:
                raise KubeError(f"GET {path_of(kind, namespace)}: an object has more than {ANSWER_BYTES_MAX} bytes")
            if text is None or (limit > 1 and text.count(b",") > PAGE_VALUES_MAX):
                limit = max(1, limit // 8)
                continue
            answer = decoded("GET", path_of(kind, namespace), text)
            more = answer["metadata"].get("continue") or ""
            items = cast("Items", answer.pop("items", None) or [])
            yield items, answer["metadata"]["resourceVersion"]
            # One page at a time: the next one may be as large.
            del items, answer, text
            limit = min(PAGE_OBJECTS, limit * 2)

    async def check_readable(self, kind: str, namespace: str | None) -> None:
        """Make sure that the objects of a kind may be listed."""
        await self._read("GET", path_of(kind, namespace), {"limit": "1"})

    async def watch(
        self, kind: str, namespace: str | None, selector: str | None, resource_version: str
    ) -> AsyncIterator[Event]:
        """What happens to the objects of a kind after a resourceVersion; ends after WATCH_SECONDS.

        Raises:
            KubeError: With status 410 where the API server no longer knows what happened since then, or sends it at
                such length that only a list can; with 0 where nothing was heard, not even the end.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        path = path_of(kind, namespace)
        with translated("WATCH", path):
            response = await self._send("GET", path, query, seconds=WATCH_SECONDS + WATCH_GRACE_SECONDS)
            async with response:
                async for line in lines(response.content):
                    event = decode(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise KubeError(f"WATCH {path}: {status.get('message')}", status=int(status.get("code") or 0))
                    yield event["type"], event["object"]

    async def apply(
        self, manifest: Manifest, *, uid: str | None = None, resource_version: str | None = None
    ) -> Manifest:
        """Server-side apply of a whole object.

        Args:
            manifest: The object.
            uid: Of the live object that is meant: the operator wins conflicts over its own fields, and another object
                of that name is refused with 409. None: there should be none, and no field of one that there is after
                all is taken from its manager.
            resource_version: Refuse with 409 where the live object is another than this one. None: whatever it is.
        """
        metadata = manifest["metadata"]
        expected = {"uid": uid, "resourceVersion": resource_version}
        expected = {name: value for name, value in expected.items() if value is not None}
        return await self._request(
            "PATCH",
            path_of(manifest["kind"], metadata["namespace"], metadata["name"]),
            {"fieldManager": FIELD_MANAGER, "force": "true" if uid is not None else "false"},
            body=as_yaml({**manifest, "metadata": {**metadata, **expected}}),
            # With a parameter, or the client would write the body as JSON once more.
            content_type="application/apply-patch+yaml; charset=utf-8",
        )

    async def set_owners(
        self, kind: str, live: Manifest, owners: Sequence[Manifest], labels: Mapping[str, str]
    ) -> Manifest | None:
        """Replace the owner references of an object, unless it has changed since it was read.

        Args:
            kind: Of the object.
            live: The object.
            owners: All that it is to have.
            labels: Some that it is to have, too.

        Returns:
            The object as it is now; None where it is gone, which is no error.
        """
        metadata = live["metadata"]
        same = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        changed = {**same, "labels": dict(labels), "ownerReferences": [*owners] or None}
        return await self._merge(path_of(kind, metadata["namespace"], metadata["name"]), {"metadata": changed})

    async def annotate(
        self, kind: str, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Manifest | None:
        """Set annotations, and remove those that are None.

        Returns:
            The object as it is now; None where it is gone, which is no error.
        """
        return await self._merge(path_of(kind, namespace, name), {"metadata": {"annotations": dict(annotations)}})

    async def patch_status(self, namespace: str, name: str, status: Manifest, *, uid: str) -> Manifest | None:
        """Merge into a ChatCluster's status.

        Args:
            namespace: Of the ChatCluster.
            name: Of the ChatCluster.
            status: What changes.
            uid: Of the ChatCluster that is meant; another one of the same name is refused with 409.

        Returns:
            The ChatCluster as it is now; None where it is gone, which is no error.
        """
        return await self._merge(
            path_of(KIND, namespace, name) + "/status", {"metadata": {"uid": uid}, "status": status}
        )

    async def delete(self, kind: str, live: Manifest, *, unchanged: bool = False) -> None:
        """Delete an object and, in the background, what it owns. One that is gone is no error.

        Args:
            kind: Of the object.
            live: The object that is meant; another one of the same name is refused with 409.
            unchanged: Refuse with 409, too, where it has changed since it was read.
        """
        metadata = live["metadata"]
        same = {"uid": metadata["uid"]}
        if unchanged:
            same["resourceVersion"] = metadata["resourceVersion"]
        path = path_of(kind, metadata["namespace"], metadata["name"])
        options = {"propagationPolicy": "Background", "preconditions": same}
        await _none_where_gone(self._request("DELETE", path, body=options))

    async def create_event(self, event: Manifest) -> None:
        """Create a core/v1 Event."""
        await self._request("POST", path_of("Event", event["metadata"]["namespace"]), body=event)

    async def events(self, kind: str, about: Manifest, reason: str) -> Items:
        """Events of one reason about one object, at most EVENTS_MAX in no order; none where they are very long.

        Args:
            kind: Of the object.
            about: The object, with its name and uid.
            reason: Of the Events.
        """
        metadata = about["metadata"]
        fields = {"kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
        selected = [f"reason={reason}", *(f"involvedObject.{name}={value}" for name, value in fields.items())]
        query = {"fieldSelector": ",".join(selected), "limit": str(EVENTS_MAX)}
        path = path_of("Event", metadata["namespace"])
        text = await self._read("GET", path, query, bytes_max=EVENTS_BYTES_MAX)
        return [] if text is None else cast("Items", decoded("GET", path, text).get("items") or [])

    async def _merge(self, path: str, body: Manifest) -> Manifest | None:
        query, content_type = {"fieldManager": FIELD_MANAGER}, "application/merge-patch+json"
        return await _none_where_gone(self._request("PATCH", path, query, body=body, content_type=content_type))


async def _none_where_gone(request: Coroutine[Any, Any, Manifest]) -> Manifest | None:
    try:
        return await request
    except KubeError as error:
        if error.status == NOT_FOUND:
            return None
        raise


@contextlib.asynccontextmanager
async def connect(kubeconfig: str | None) -> AsyncIterator[Kube]:
    """Connect by the service account inside a cluster, by a kubeconfig elsewhere.

    Args:
        kubeconfig: Its path; None for kubectl's default one.

    Raises:
        KubeError: Neither is there.
    """
    async with client_of(kubeconfig) as api:
        yield Kube(api)
