"""Programs that import the client by its former name go on working for one release, with a warning."""

import importlib
import sys

import pytest

import chatcluster_client


def test_the_former_name_has_the_same_names_and_warns() -> None:
    sys.modules.pop("chatserver.client", None)
    with pytest.warns(DeprecationWarning, match="import chatcluster_client instead"):
        former = importlib.import_module("chatserver.client")
    assert {name: getattr(former, name) for name in chatcluster_client.__all__} == {
        name: getattr(chatcluster_client, name) for name in chatcluster_client.__all__
    }
