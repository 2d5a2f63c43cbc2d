"""The AsyncAPI 3.0 document of the WebSocket, made from the frames as protocol.py declares them."""

from __future__ import annotations

import inspect
from typing import Any, get_args

from chatserver import protocol
from chatserver.apidocs.openapi import API_VERSION, COOKIE, COOKIE_DESCRIPTION, DESCRIPTION
from chatserver.apidocs.schemas import UNION, schema_components
from chatserver.messaging.rendering import SyncedChatView
from chatserver.messaging.row_views import EventFrame, RowView

PATH = "/api/ws"
CHANNEL = "websocket"
CLIENT_FRAMES: tuple[type[protocol.Frame], ...] = get_args(protocol.ClientFrame)
# Rows of a chat come as two frames, of which one is made above protocol.py.
SERVER_FRAMES: tuple[type[Any], ...] = tuple(
    frame
    for kind in get_args(protocol.ServerFrame)
    for frame in ((kind, EventFrame) if kind is protocol.Message else (kind,))
)
# What protocol.py leaves open, since the domain's shapes are made above it.
INNER: dict[tuple[type[Any], str], Any] = {
    (protocol.Message, "message"): RowView,
    (protocol.Synced, "chats"): list[SyncedChatView],
}


def make_asyncapi() -> dict[str, Any]:
    """Return the document, from the server's side: it receives what clients send."""
    frames = (*CLIENT_FRAMES, *SERVER_FRAMES)
    received, sent, schemas = schema_components(CLIENT_FRAMES, [*SERVER_FRAMES, *INNER.values()])
    refs = [*received, *sent[: len(SERVER_FRAMES)]]
    for (kind, field), inner in zip(INNER, sent[len(SERVER_FRAMES) :], strict=True):
        schemas[kind.__name__]["properties"][field] = inner
    # The shape of the untyped member above.
    del schemas["Struct"]
    # OpenAPI's has a form that AsyncAPI does not have; the values of `event` distinguish the types as well.
    del schemas[UNION]["discriminator"]
    operations: dict[str, Any] = {
        f"receive{kind.__name__}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{CHANNEL}"},
            "summary": _summary(kind),
            "messages": [_of_channel(kind)],
            **({"reply": _reply(protocol.REPLIES[kind])} if kind in protocol.REPLIES else {}),
        }
        for kind in CLIENT_FRAMES
    }
    operations["sendFrames"] = {
        "action": "send",
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "summary": "Frames of the server.",
        "messages": [_of_channel(kind) for kind in SERVER_FRAMES],
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ChatCluster's WebSocket",
            "version": API_VERSION,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "ingress": {
                "host": "{host}",
                "protocol": "wss",
                "variables": {"host": {"description": "The host that served this document.", "default": "localhost"}},
                "security": [
                    {"$ref": f"#/components/securitySchemes/{name}"} for name in ("token", "cookie", "ticket")
                ],
            }
        },
        "channels": {
            CHANNEL: {
                "address": PATH,
                "description": f"Subprotocol {protocol.SUBPROTOCOL}; a frame is one JSON object in a text message.",
                "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"} for kind in frames},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
                "x-close-codes": _close_codes(),
                "x-limits": {
                    "max_frame_bytes": protocol.MAX_FRAME_BYTES,
                    "max_in_flight": protocol.MAX_IN_FLIGHT,
                    "max_sync_chats": protocol.MAX_SYNC_CHATS,
                    "max_subscribed_users": protocol.MAX_SUBSCRIBED_USERS,
                },
            }
        },
        "operations": operations,
        "components": {
            "messages": {
                kind.__name__: {"name": tag_of(kind), "summary": _summary(kind), "payload": ref}
                for kind, ref in zip(frames, refs, strict=True)
            },
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "In the handshake's Authorization header.",
                },
                "cookie": {
                    "type": "httpApiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": COOKIE_DESCRIPTION,
                },
                "ticket": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "ticket",
                    "description": "The ticket of POST /api/ws-ticket, for web pages.",
                },
            },
        },
    }


def tag_of(kind: type[Any]) -> str:
    """Return a frame's ``type``."""
    return "event" if kind is EventFrame else str(kind.__struct_config__.tag)


def _summary(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _of_channel(kind: type[Any]) -> dict[str, str]:
    return {"$ref": f"#/channels/{CHANNEL}/messages/{kind.__name__}"}


def _reply(kinds: tuple[type[Any], ...]) -> dict[str, Any]:
    return {"channel": {"$ref": f"#/channels/{CHANNEL}"}, "messages": [_of_channel(kind) for kind in kinds]}


def _close_codes() -> dict[str, str]:
    """Return what each close code means, by the names of its constant."""
    prefix = "CLOSE_"
    named = {value: name for name, value in vars(protocol).items() if name.startswith(prefix)}
    return {str(code): named[code].removeprefix(prefix).lower() for code in sorted(named)}
