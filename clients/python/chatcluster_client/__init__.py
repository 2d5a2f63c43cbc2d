"""The async Python client: REST calls, and a live connection that recovers from failures.

Example:
    rest = await RestClient.sign_in("https://chat.example.com", "+14155550101", username="ana")
    async with LiveClient(rest) as live:
        ack = await live.send("hello", to="+14155550102")
        async for item in live.items():
            print(item)
"""

from chatcluster_client.live import LiveClient
from chatcluster_client.model import (
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
from chatcluster_client.positions import Positions
from chatcluster_client.rest import RestClient

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
