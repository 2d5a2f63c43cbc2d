"""JSON of any depth and width: what can be read is read, and the rest names the field that is too large."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatoperator.kube import decoding
from chatoperator.kube.decoding import BYTES_MAX, DEPTH_MAX, UNREADABLE, VALUES_MAX, decode, encode
from tests.support.chatclusters import body

DEEPEST = 9_996
"""What an API server accepts."""


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def chatcluster(affinity: str) -> bytes:
    """As text: Python could not write the deepest ones."""
    whole = json.dumps({**body(), "status": {"version": "1"}}, separators=(",", ":"))
    return whole.replace('"spec":{', f'"spec":{{"chatserver":{{"podTemplate":{{"affinity":{affinity}}}}},').encode()


AFFINITY = "spec.chatserver.podTemplate.affinity"


@pytest.mark.parametrize(
    ("affinity", "why"),
    [
        (nested(DEEPEST), "is nested more than 64 levels deep"),
        (nested(DEPTH_MAX), "is nested more than 64 levels deep"),
        ('{"a":' + nested(DEEPEST) + ',"b":' + "[" * 3_000 + "]" * 3_000 + "}", "is nested more than 64 levels deep"),
        ('{"a":[' + ",".join(["{}"] * 300_000) + "]}", "holds more than 20000 values"),
        ('{"a":[' + ",".join(["{}"] * 400_000) + "]}", "is larger than 1024 KiB"),
        (json.dumps({"a": "x" * BYTES_MAX}), "is larger than 1024 KiB"),
        # Brackets in a string make nothing shallower: {"}":{"}":...
        ('{"}":' * 500 + "1" + "}" * 500, "is nested more than 64 levels deep"),
    ],
    ids=["deepest", "one level too deep", "deep twice", "wide", "wider", "long", "deep with brackets in names"],
)
def test_an_object_out_of_bounds_leaves_who_it_is_and_names_its_field(affinity: str, why: str) -> None:
    kept = decode(encode(decode(chatcluster(affinity))))
    assert kept == {
        "apiVersion": "chatcluster.io/v1alpha1",
        "kind": "ChatCluster",
        "metadata": body()["metadata"],
        "status": {"version": "1"},
        UNREADABLE: f"{AFFINITY} {why}",
    }


@pytest.mark.parametrize(
    "affinity",
    [
        nested(DEPTH_MAX - 10),
        '{"a":[' + ",".join(["{}"] * (VALUES_MAX // 2 - 100)) + "]}",
        json.dumps({"a": "{[" * 30_000, "b": ',"' * 30_000}),
    ],
    ids=["deep", "wide", "brackets in strings"],
)
def test_an_object_within_bounds_stays_as_it_is(affinity: str) -> None:
    text = chatcluster(affinity)
    assert json.loads(encode(decode(text))) == json.loads(text)


def test_one_deep_object_leaves_the_others_of_its_list_as_they_are() -> None:
    good = chatcluster("{}")
    read = decode(b'{"items":[' + b",".join([good, chatcluster(nested(DEEPEST)), good]) + b"]}")
    first, bad, last = (decode(encode(item)) for item in read["items"])
    assert first == last == json.loads(good)
    assert bad[UNREADABLE].startswith(AFFINITY)


def test_deep_managed_fields_are_no_fault_of_the_object() -> None:
    whole = chatcluster("{}").replace(
        b'"metadata":{', b'"metadata":{"managedFields":' + nested(DEEPEST).encode() + b","
    )
    read = decode(whole)
    del read["metadata"]["managedFields"]
    assert encode(read) == json.dumps(json.loads(chatcluster("{}")), separators=(",", ":")).encode()


@pytest.mark.parametrize("text", ["", "{", "[" * 50_000, '{"a":' * 50_000, "}" * 5, '"', "nope"])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(text.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(alphabet='{}[]",\\a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='{}"\\b', max_size=3), inner, max_size=4)
    ),
    max_leaves=40,
)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(value=JSON, levels=st.integers(0, 6))
def test_the_depth_is_told_exactly_whatever_strings_hold(value: Any, levels: int) -> None:
    bare = decoding._STRING.sub(b"", decoding._dumps(value))
    assert decoding._is_deeper(bare.translate(None, decoding._NO_BRACKETS), levels) == (depth(value) > levels)
    cut = json.loads(decoding._cut(decoding._dumps(value), levels)) if levels else value
    assert depth(cut) == min(depth(value), levels) if levels else True
