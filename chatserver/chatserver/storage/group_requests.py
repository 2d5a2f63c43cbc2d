"""SQL of the client_ids with which groups were created: a step of the transaction that creates a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from chatserver.storage.database import Connection


class GroupRequest(msgspec.Struct, frozen=True):
    """A client's request to create a group.

    Attributes:
        client_hash: hash of the content: the same client_id with another hash is a conflict.
        group_id: the group that was created.
    """

    user_id: int
    client_id: str
    client_hash: bytes
    group_id: int


async def claim(connection: Connection, request: GroupRequest) -> GroupRequest:
    """Store a request unless its client_id was used before; returns the stored request.

    A concurrent request with the same client_id on another server waits until this transaction ends.
    """
    claimed = await connection.fetchval(
        "INSERT INTO group_requests (user_id, client_id, client_hash, group_id) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT DO NOTHING RETURNING group_id",
        request.user_id,
        request.client_id,
        request.client_hash,
        request.group_id,
    )
    if claimed is not None:
        return request
    # A separate statement: it sees what the other transaction has committed meanwhile.
    record = await connection.fetchrow(
        "SELECT client_hash, group_id FROM group_requests WHERE user_id = $1 AND client_id = $2",
        request.user_id,
        request.client_id,
    )
    return request if record is None else msgspec.structs.replace(request, client_hash=record[0], group_id=record[1])
