"""Faults on the real cluster: a real Prometheus and Alertmanager send their alerts, and no other page.

The rules are those of the chart with all durations divided by `SCALE`: what takes an hour in production takes a minute.
One that pages and one that is a ticket are here: a part that stops, and connections that are cut.
The others, and ten healthy minutes, are in test_more_alerts.py.
"""

from tests.support.alerts import only_pages, quiet
from tests.support.background import background
from tests.support.cluster import Cluster
from tests.support.faults import CUT_LISTENERS
from tests.support.findings import tell
from tests.support.ledger import Ledger
from tests.support.monitored import Monitored

FIRES_SECONDS = 90
RESOLVES_SECONDS = 240

CUTS_A_SESSION = 4

DEMO = {"namespace": "chat", "chatcluster": "demo"}


async def test_a_stopped_database_pages_once(cluster: Cluster, watched: Monitored) -> None:
    await quiet(watched)
    async with only_pages(watched, cause="ChatDatabaseDown"), Ledger(cluster.url, tls=cluster.insecure) as ledger:
        async with cluster.without_new_pods():
            await cluster.kubectl("delete", "pod", "demo-postgres-0", "-n", "chat", "--grace-period=1")
            fired = await watched.fires("ChatDatabaseDown", FIRES_SECONDS, **DEMO)
            assert fired.annotations["runbook_url"].endswith("docs/runbooks/ChatDatabaseDown.md")
        await cluster.ready()
        await watched.resolves("ChatDatabaseDown", RESOLVES_SECONDS, **DEMO)
        account = await ledger.finish()
        tell(account)
        assert account.clean, account


async def test_a_bus_that_is_cut_again_and_again_is_a_ticket(cluster: Cluster, watched: Monitored) -> None:
    await quiet(watched)
    async with only_pages(watched), Ledger(cluster.url, tls=cluster.insecure) as ledger, background(_cut_bus(cluster)):
        fired = await watched.fires("ChatBusLost", FIRES_SECONDS, **DEMO)
        assert fired.labels["severity"] == "ticket"
        account = await ledger.finish()
        assert account.clean, account
    await watched.resolves("ChatBusLost", RESOLVES_SECONDS, **DEMO)


async def _cut_bus(cluster: Cluster) -> None:
    while True:
        # A session for many cuts: each costs processes here and in the pod.
        await cluster.psql(f"{CUT_LISTENERS};SELECT pg_sleep(0.5);" * CUTS_A_SESSION)
