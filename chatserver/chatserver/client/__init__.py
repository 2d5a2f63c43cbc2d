"""The async Python client: REST calls, and a live connection that heals itself.

Install it with the extra `client`. Example:

    rest = await RestClient.sign_in("https://chat.example.com", "+14155550101", username="ana")
    async with LiveClient(rest) as live:
        ack = await live.send("hello", to="+14155550102")
        async for item in live.items():
            print(item)
"""

from chatserver.client.live import LiveClient
from chatserver.client.model import (
    Ack,
    ChatClientError,
    ClientStopped,
    HistoryReplaced,
    Item,
    Problem,
    ReceiptUpdate,
    Replaced,
    SignedOut,
)
from chatserver.client.positions import Positions
from chatserver.client.rest import RestClient

__all__ = [
    "Ack",
    "ChatClientError",
    "ClientStopped",
    "HistoryReplaced",
    "Item",
    "LiveClient",
    "Positions",
    "Problem",
    "ReceiptUpdate",
    "Replaced",
    "RestClient",
    "SignedOut",
]
