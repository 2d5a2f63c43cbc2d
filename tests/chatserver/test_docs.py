"""The page for people shows all that the documents hold, every link leads somewhere, and nothing on it runs."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from chatserver.apidocs.asyncapi import make_asyncapi
from chatserver.apidocs.openapi import catalogue, make_openapi
from chatserver.apidocs.page import HEADERS, make_docs
from chatserver.apidocs.schemas import UNION
from chatserver.routes import CALLS

OPENAPI, ASYNCAPI = make_openapi(CALLS), make_asyncapi()
VOID = {"meta"}


class Reader(HTMLParser):
    """Reads a page strictly: what is opened is closed, in order.

    Attributes:
        elements: (name, attributes) of each element, as they come.
        text: all text but the style.
        style: the text of the style.
    """

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.style = ""
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        """Return all values of an attribute."""
        return [str(attributes[name]) for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def page() -> Reader:
    return Reader(make_docs(OPENAPI, ASYNCAPI))


def test_every_call_frame_error_and_schema_has_a_place_of_its_own(page: Reader) -> None:
    calls = {operation["operationId"] for item in OPENAPI["paths"].values() for operation in item.values()}
    frames = {f"frame-{name}" for name in ASYNCAPI["components"]["messages"]}
    codes = {f"error-{kind.code}" for kind in catalogue()}
    schemas = {f"schema-{name}" for document in (OPENAPI, ASYNCAPI) for name in document["components"]["schemas"]}
    ids = Counter(page.attributes("id"))
    assert max(ids.values()) == 1
    assert calls | frames | codes | schemas <= ids.keys()
    for code in next(iter(ASYNCAPI["channels"].values()))["x-close-codes"]:
        assert code in page.text


def test_schemas_that_both_documents_have_are_the_same() -> None:
    ours, theirs = OPENAPI["components"]["schemas"], ASYNCAPI["components"]["schemas"]
    # AsyncAPI has no mapping from the values of a discriminator to schemas.
    only_openapi = {UNION: {"discriminator"}}
    for name in ours.keys() & theirs.keys():
        shared = {key: value for key, value in ours[name].items() if key not in only_openapi.get(name, ())}
        assert shared == theirs[name], name


def test_every_link_leads_somewhere(page: Reader) -> None:
    links = page.attributes("href")
    assert len(links) > 100
    assert {link for link in links if not link.startswith("#")} == {"/openapi.json", "/asyncapi.json"}
    assert {link[1:] for link in links if link.startswith("#")} <= set(page.attributes("id"))


def test_nothing_runs_and_nothing_is_loaded(page: Reader) -> None:
    assert {name for name, _ in page.elements} & {"script", "img", "link", "iframe", "object", "form"} == set()
    attributes = {name for _, found in page.elements for name in found}
    assert attributes == {
        *("aria-label", "charset", "class", "content", "href", "id", "lang", "name", "role", "scope", "tabindex")
    }
    assert "url(" not in page.style


def test_the_policy_lets_the_pages_own_style_through_and_no_more(page: Reader) -> None:
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    policy = HEADERS["Content-Security-Policy"].split("; ")
    assert policy[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_a_reader_finds_the_way_by_headings_and_keyboard(page: Reader) -> None:
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels.count(1) == 1
    main = levels[levels.index(1) :]
    assert all(after <= before + 1 for before, after in itertools.pairwise(main))
    regions = [found for name, found in page.elements if found.get("role") == "region"]
    assert len(regions) == sum(name == "table" for name, _ in page.elements)
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in regions)
    first = next(found for name, found in page.elements if name == "a")
    assert first["href"] == "#main"


def test_bounds_defaults_and_rules_are_told(page: Reader) -> None:
    for said in ("at most 65,536 characters", "1 to 1,000", "else 100", "list of ChatView", "1 to 50 characters"):
        assert said in page.text


def test_what_the_documents_say_cannot_become_markup() -> None:
    openapi = copy.deepcopy(OPENAPI)
    openapi["paths"]["/livez"]["get"]["summary"] = "<script>alert(1)</script> & `<b>`"
    reader = Reader(make_docs(openapi, ASYNCAPI))
    assert "script" not in {name for name, _ in reader.elements}
    assert "<script>alert(1)</script> & <b>" in reader.text
