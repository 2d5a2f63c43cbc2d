"""What openapi-typescript makes of the OpenAPI document: exact types, by TypeScript's own compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import msgspec
import pytest

from chatserver.apidocs.documents import document_calls
from chatserver.apidocs.openapi import make_openapi
from chatserver.events import EVENTS
from chatserver.routes import CALLS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.soak

PACKAGES = ("openapi-typescript@7.13.0", "typescript@5.9.3")

OPEN = ("Record<string, never>", "unknown")
"""What the generator writes where a schema leaves a type open."""

OF_EVERY_DOCUMENT = re.compile(
    r"^export type (webhooks|\$defs) = Record<string, never>;$|^ *\[name: string\]: unknown;$|^ *(/\*)?\*.*$"
)
"""Lines that do not depend on the document: what it has none of, headers of answers, comments."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated types, and the compiler."""
    made = tmp_path_factory.mktemp("typescript")
    npm = shutil.which("npm")
    assert npm is not None, "no npm here: install Debian's packages 'nodejs' and 'npm'"
    install = (npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES)
    subprocess.run(install, cwd=made, check=True, capture_output=True, timeout=240)
    document = make_openapi((*CALLS, *document_calls(CALLS)))
    (made / "openapi.json").write_bytes(msgspec.json.encode(document))
    generate = ("npx", "openapi-typescript", "openapi.json", "--output", "openapi.ts")
    subprocess.run(generate, cwd=made, check=True, capture_output=True, timeout=240)
    return made


def compiled(folder: Path, program: str) -> str:
    """What the compiler complains about."""
    (folder / "program.ts").write_text('import type { components } from "./openapi";\n' + program)
    done = subprocess.run(
        ["npx", "tsc", "--strict", "--noEmit", "--skipLibCheck", "program.ts"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode == 0) == (done.stdout == ""), done
    return done.stdout


def test_no_type_is_left_open(folder: Path) -> None:
    lines = [line for line in (folder / "openapi.ts").read_text().splitlines() if not OF_EVERY_DOCUMENT.match(line)]
    found = [line.strip() for line in lines if any(words in line for words in OPEN)]
    # GET /openapi.json and GET /asyncapi.json, which have schemas of their own.
    assert found == ["[key: string]: unknown;"] * 2


def test_the_event_of_a_detail_names_its_members(folder: Path) -> None:
    cases = [
        f'    case "{event}": return [{", ".join(f"detail.{field}" for field in kind.__struct_fields__)}];'
        for event, kind in EVENTS.items()
    ]
    program = """
type Detail = NonNullable<components["schemas"]["RowView"]["detail"]>;
export function members(detail: Detail): (string | string[] | number | number[] | boolean | null)[] {
  switch (detail.event) {
%s
    default: { const none: never = detail; return none; }
  }
}
"""
    assert compiled(folder, program % "\n".join(cases)) == ""
    assert "not assignable to type 'never'" in compiled(folder, program % "\n".join(cases[1:]))
    wrong = [case.replace("detail.emoji", "detail.role") for case in cases]
    assert "Property 'role' does not exist" in compiled(folder, program % "\n".join(wrong))


def test_a_message_needs_only_its_recipient_and_its_content(folder: Path) -> None:
    program = """
type Body = components["schemas"]["MessageBody"];
export const text: Body = { to: "ben", text: "hello" };
export const picture: Body = { chat_id: 12, type: "image", media_url: "https://example.com/cat.jpg" };
"""
    assert compiled(folder, program) == ""
    assert "not assignable" in compiled(folder, program.replace('to: "ben"', 'to: "ben", type: "pciture"'))
