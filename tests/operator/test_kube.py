"""What goes to the API server."""

from __future__ import annotations

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from chatoperator.kube.bodies import as_yaml

# A surrogate is half a character, which no text from the API server holds.
_characters = st.characters(exclude_categories=["Cs"])


@given(st.text(_characters))
@example("👩‍👩‍👧")
@example("\x7f\x85\u2028\u2029\ufeff\uffff")
@example("\\ud83d\\udc69 \\")
def test_whatever_a_manifest_says_is_read_back_fromas_yaml(text: str) -> None:
    manifest = {"data": {"text": text}, "numbers": [1, 2.5, None, True]}
    assert yaml.load(as_yaml(manifest), yaml.CSafeLoader) == manifest
