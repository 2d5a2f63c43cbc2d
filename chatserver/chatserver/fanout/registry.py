"""The connections of this server by id, by user and by device; one connection a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.protocol import CLOSE_REPLACED, CLOSE_UNAUTHENTICATED

if TYPE_CHECKING:
    from collections.abc import Collection

    from chatserver.fanout.connection import ClientConnection

REPLACED = "this device has connected again"
"""Reason of a close with 4009."""

SIGNED_OUT = "this device was signed out"
"""Reason of a close with 4001."""


class Registry:
    """Index of connections.

    Attributes:
        by_id: all of them.
        by_user: those of each user who has any.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, ClientConnection] = {}
        self.by_user: dict[int, set[ClientConnection]] = {}
        self._by_device: dict[int, ClientConnection] = {}

    def add(self, connection: ClientConnection) -> None:
        """Register a connection."""
        self.by_id[connection.conn_id] = connection
        self.by_user.setdefault(connection.user_id, set()).add(connection)

    def remove(self, connection: ClientConnection) -> None:
        """Forget a connection, whether it was added, or only claimed its device."""
        self.by_id.pop(connection.conn_id, None)
        if self._by_device.get(connection.device_id) is connection:
            del self._by_device[connection.device_id]
        connections = self.by_user.get(connection.user_id)
        if connections is not None:
            connections.discard(connection)
            if not connections:
                del self.by_user[connection.user_id]

    def is_here(self, user_id: int) -> bool:
        """Return whether a user has a connection on this server."""
        return user_id in self.by_user

    def devices(self) -> Collection[int]:
        """Return the devices that have a connection."""
        return self._by_device.keys()

    def send_to(self, user_ids: Collection[int], frame: bytes) -> None:
        """Queue a frame to every connection of some users."""
        for user_id in user_ids:
            for connection in self.by_user.get(user_id, ()):
                connection.outbox.put(frame)

    # --- one connection a device

    def claim(self, connection: ClientConnection) -> None:
        """Make a connection its device's, before the claim is published and the connection added."""
        older = self._by_device.get(connection.device_id)
        if older is not None and older is not connection:
            older.outbox.close(CLOSE_REPLACED, REPLACED)
        self._by_device[connection.device_id] = connection

    def receive_claim(self, device_id: int, conn_id: str) -> None:
        """Take from the bus that a device connected; an older connection of it here is closed with 4009.

        The order of the bus decides, which is the same for all servers: a connection here whose own claim was received
        before is older; one whose claim was not received yet is newer.
        """
        here = self._by_device.get(device_id)
        if here is not None and here.conn_id == conn_id:
            here.announced = True
        elif here is not None and here.announced:
            here.outbox.close(CLOSE_REPLACED, REPLACED)

    def claims_were_missed(self) -> None:
        """Treat the claims as received that were published while the bus was lost: later ones are newer."""
        for connection in self.by_id.values():
            connection.announced = connection.announced or connection.published

    def sign_out(self, device_ids: Collection[int]) -> None:
        """Close the connections of devices that were signed out, without what waits for them."""
        for device_id in device_ids:
            connection = self._by_device.get(device_id)
            if connection is not None:
                connection.outbox.close(CLOSE_UNAUTHENTICATED, SIGNED_OUT, flush=False)
