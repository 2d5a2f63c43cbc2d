"""A database of several instances: made of one while people write, lost and handed over, and one again.

In `make test` each of these happens once. What is slow or is to be repeated is run by `make soak`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.chatinstances import ChatInstances
from tests.support.findings import tell
from tests.support.ledger import Ledger

if TYPE_CHECKING:
    from tests.support.cluster import Cluster
    from tests.support.nodes import Nodes

TALK_SECONDS = 120
"""Until each user has written again."""


async def test_one_becomes_three_survives_its_leader_and_becomes_one_again(cluster: Cluster, nodes: Nodes) -> None:
    instances = ChatInstances(cluster)
    async with Ledger(cluster.url, tls=cluster.insecure, pairs=2, messages_per_second=4) as ledger:
        epoch = await instances.epoch()
        copied = await instances.become(3)
        restarted = await ledger.gap(TALK_SECONDS)
        assert await instances.epoch() == epoch, "nothing was lost, so that no cursor expires"

        killed = await instances.led()
        await instances.kill(nodes, killed)
        led = await instances.led_by_another(killed)
        without_leader = await ledger.gap(TALK_SECONDS)
        back = await instances.complete(3)

        old = await instances.led()
        said = await cluster.kubectl("chatcluster", "switchover", "demo", "-n", "chat")
        handed_over = await ledger.gap(TALK_SECONDS)
        assert await instances.led() != old, said
        await instances.complete(3)

        removed = await instances.become(1)
        alone = await ledger.gap(TALK_SECONDS)
        account = await ledger.finish()
    tell(
        f"1 -> 3 instances in {copied:.0f} s, longest wait for an acknowledgement {restarted:.1f} s; leader killed: "
        f"another leads after {led:.1f} s, longest wait {without_leader:.1f} s, complete {back:.0f} s later; "
        f"switchover: {handed_over:.1f} s; 3 -> 1 in {removed:.0f} s, longest wait {alone:.1f} s\n{account}"
    )
    await instances.forget_copies()
    assert account.clean, account
