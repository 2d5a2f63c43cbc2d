"""HTML from nested calls; texts and attributes are escaped by the standard library's serialiser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Element = ET.Element
Content = Element | str


def tag(name: str, /, *content: Content, **attributes: str) -> Element:
    """Return an element.

    Args:
        name: such as ``p``.
        content: texts and elements, in order.
        attributes: an underscore at the end is left out (``class_``), others become hyphens (``aria_label``).

    Example:
        >>> ET.tostring(tag("p", "a < ", tag("b", "c"), class_="x"), "unicode", method="html")
        '<p class="x">a &lt; <b>c</b></p>'
    """
    made = Element(name, {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()})
    for part in content:
        if not isinstance(part, str):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def code(text: str) -> Element:
    """Return a name or value of the protocol."""
    return tag("code", text)


def link(href: str, *content: Content) -> Element:
    """Return a link."""
    return tag("a", *content, href=href)


def prose(text: str) -> list[Content]:
    """Return a docstring's sentence, with what it has in backquotes as code."""
    parts = re.split("`+", text)
    return [code(part) if number % 2 else part for number, part in enumerate(parts) if part]


def joined(parts: Iterable[Sequence[Content]], between: str) -> list[Content]:
    """Return contents in a row, with a text between them."""
    row: list[Content] = []
    for part in parts:
        row += [between, *part] if row else part
    return row


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Sequence[Content]]]) -> Element:
    """Return a table that scrolls by keyboard where it is too wide; each row begins with its heading."""
    body = [tag("tr", tag("th", *row[0], scope="row"), *(tag("td", *cell) for cell in row[1:])) for row in rows if row]
    head = tag("tr", *(tag("th", name, scope="col") for name in header))
    made = tag("table", tag("thead", head), tag("tbody", *body))
    return tag("div", made, class_="table", role="region", aria_label=caption, tabindex="0")


def page(title: str, style: str, *body: Content) -> bytes:
    """Return a whole document in English, as UTF-8."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", style),
    )
    whole = tag("html", head, tag("body", *body), lang="en")
    return ("<!doctype html>\n" + ET.tostring(whole, "unicode", method="html")).encode()
