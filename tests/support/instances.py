"""The fields of a database of several instances, which the CRD does not have yet, on the tests' API server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.apiserver import ApiServer

FIELDS = {
    "instances": {"type": "integer", "enum": [1, 2, 3, 5], "default": 1},
    "strict": {"type": "boolean"},
}

DATABASE = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/database/properties"


def publish(server: ApiServer) -> None:
    """Have the API server keep these fields of ChatClusters."""
    patch = [{"op": "add", "path": f"{DATABASE}/{name}", "value": schema} for name, schema in FIELDS.items()]
    arguments = ("patch", "crd", "chatclusters.chatcluster.io", "--type=json", "-p", json.dumps(patch))
    done = server.run_kubectl(*arguments)
    assert done.returncode == 0, done.stderr
