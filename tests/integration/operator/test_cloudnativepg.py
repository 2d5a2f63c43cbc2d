"""The page for CloudNativePG: a real API server accepts its ChatCluster, which uses what CloudNativePG creates."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chatoperator.api.parse import parse
from chatoperator.parts.chatserver.database_access import AUTHORITY_KEY
from chatoperator.parts.database.external import judge
from chatoperator.parts.ingress.tls import self_signed
from tests.support.chatclusters import secret
from tests.support.pages import OPERATIONS

if TYPE_CHECKING:
    from tests.support.apiserver import ApiServer

PAGE = OPERATIONS / "cloudnativepg.md"


def documents() -> dict[str, dict[str, Any]]:
    """The objects of the page's block, by kind."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return {document["kind"]: document for document in yaml.safe_load_all(block)}


def test_the_chat_uses_the_secrets_that_cloudnativepg_creates() -> None:
    database, chat = documents()["Cluster"], documents()["ChatCluster"]
    name, namespace = (database["metadata"][key] for key in ("name", "namespace"))
    chatcluster = parse({**chat, "metadata": {**chat["metadata"], "uid": "1", "generation": 1}})
    external = chatcluster.database.external
    assert external is not None
    assert (external.secret_name, external.secret_key) == (f"{name}-app", "uri")
    assert external.ca_secret_name == f"{name}-ca"
    assert chat["metadata"]["namespace"] == namespace
    owner, stored = (
        database["spec"]["bootstrap"]["initdb"]["owner"],
        database["spec"]["bootstrap"]["initdb"]["database"],
    )
    authority = self_signed.ensure(None, None, ["db"], dt.datetime.now(dt.UTC)).authority.certificate
    # As CloudNativePG writes it.
    uri = f"postgresql://{owner}:secret@{name}-rw.{namespace}:5432/{stored}"
    named = {
        f"{name}-app": secret(f"{name}-app", uri=uri),
        f"{name}-ca": secret(f"{name}-ca", **{AUTHORITY_KEY: authority}),
    }
    judged = judge(chatcluster, external, named)
    assert judged.trouble is None
    assert judged.ports == (5432,)
    most = int(database["spec"]["postgresql"]["parameters"]["max_connections"])
    assert external.connection_budget <= most - 20


@pytest.mark.integration
def test_the_api_server_accepts_the_chat(server: ApiServer, namespace: str) -> None:
    chat = documents()["ChatCluster"]
    chat["metadata"]["namespace"] = namespace
    done = server.run_kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(chat))
    assert done.returncode == 0, done.stderr
