"""The largest, deepest and strangest value of each field of the spec: rendered, or refused with the field's name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatoperator.errors import SpecError
from chatoperator.kube.decoding import decode, encode
from chatoperator.reconcile.digests import Rendering
from chatoperator.reconcile.reading import read
from tests.operator.test_crd import SCHEMA
from tests.support.chatclusters import body, desired
from tests.support.extremes import ALONE, extremes, merged, without

SPEC = SCHEMA["properties"]["spec"]

CASES = list(extremes(without(SPEC, ALONE)))


def test_the_table_has_every_field_with_several_values() -> None:
    assert len(CASES) > 900
    assert len(dict(CASES)) == len(CASES)


@pytest.mark.parametrize("part", sorted({where.partition(":")[0].partition(".")[0] for where, _ in CASES}))
def test_each_value_is_rendered_or_refused_by_name(part: str) -> None:
    wrong: dict[str, Any] = {}
    for where, value in CASES:
        if where.partition(":")[0].partition(".")[0] != part:
            continue
        made = body()
        kept = decode(encode({**made, "spec": merged(made["spec"], value)}))
        try:
            chat = read(kept)
            json.dumps(Rendering(desired(chat)).manifests)
        except SpecError as error:
            if not error.remedy:
                wrong[where] = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the table says of which value
            wrong[where] = f"{type(error).__name__}: {error}"[:200]
    assert wrong == {}
