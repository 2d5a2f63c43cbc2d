"""Requests made from the OpenAPI document, right and wrong ones: no failure, and no answer that it does not tell."""

from __future__ import annotations

import asyncio
import os
import re
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from chatserver import bounds
from chatserver.apidocs.openapi import make_openapi
from chatserver.routes import CALLS
from tests.support.devices import Device, sign_in
from tests.support.people import new_number
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.postgres import PostgresCluster

SOAK_EXAMPLES = int(os.environ.get("CHAT_SOAK_EXAMPLES", "200"))
"""Random requests to each operation in a soak, other ones each time: about one second for each of them."""

NAMES = tuple(f"person-{number}" for number in range(20))
# Read when a test runs: making hundreds of requests from the document takes seconds, which each collection would cost.
few = schemathesis.pytest.from_fixture("few_requests")
many = schemathesis.pytest.from_fixture("many_requests")

# Fields of which a schema cannot tell all (which numbers a country has, which signs are letters or emoji, what a cursor
# holds, whether digits are below 2^63), and those whose value depends on what is stored (the last admin, an answered
# message, oneself, a caption): refusing them may be right although the schema takes them.
OF_THE_SERVICES = re.compile(
    r"phone_number|username|device_name|group_name|to|members\[\d+\]|media_url|profile_picture_url|picture_url"
    r"|description|emoji|since|changed_since|cursor|chats|role|reply_to|user_id|text|group_id|code"
)
BY_CODE = ("previewInvite", "joinGroup")
"""Calls that take the code of an invite, of which a user has only so many tries."""

BY_PROOF = ("createSession", "putNumber")
"""Calls that take a code which was sent to a number."""

OTHER_PROOF = {"code_id": re.compile(f"[^\0]{{1,{bounds.CODE_ID_MAX_CHARS}}}", re.DOTALL), "pin": bounds.PIN}
"""What such a call may name beside the code, and nobody can guess."""

MESSAGES = 40
"""Of each chat, so that those which requests delete are few."""

SIGNS_OUT = ("deleteSession", "revokeDevice", "deleteMe")


def read_document(request: pytest.FixtureRequest, *, deterministic: bool) -> Any:
    # Schemathesis 4.32 uses this name of pytest's, which pytest 9.2 has no more.
    request.node._nodeid = request.node.nodeid
    config = {
        # Schemathesis does not count 413 as a refusal; it is one, of what is too long for a body or a header.
        "checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}},
        "generation": {"deterministic": deterministic},
    }
    document = msgspec.json.decode(msgspec.json.encode(make_openapi(CALLS)))
    return schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))


@pytest.fixture
def few_requests(request: pytest.FixtureRequest) -> Any:
    return read_document(request, deterministic=True)


@pytest.fixture
def many_requests(request: pytest.FixtureRequest) -> Any:
    return read_document(request, deterministic=False)


@dataclass(frozen=True)
class World:
    """A server, who asks it, and what there is to ask for by the parameters' names."""

    server: ServerProcess
    ana: Device
    ids: dict[str, list[int]]
    answers: dict[str, set[int]]
    code: str


async def make_world(server: ServerProcess) -> World:
    ana, *people = [await sign_in(server, name) for name in ("ana", *NAMES)]
    async with ana.http(server) as http:
        sent = [
            (await http.post("/api/messages", json={"to": NAMES[0], "text": str(number)})).json()
            for number in range(MESSAGES)
        ]
        group = (await http.post("/api/groups", json={"group_name": "Team", "members": NAMES})).json()["group_id"]
        for number in range(MESSAGES):
            await http.post("/api/messages", json={"chat_id": group, "text": str(number)})
        invite = (await http.post(f"/api/groups/{group}/invites", json={})).json()
    ids = {
        "user_id": [person.user_id for person in people],
        "group_id": [group],
        "chat_id": [sent[0]["chat_id"], group],
        # Above the first row of the group, which is no message.
        "seq": [row["seq"] for row in sent[1:]],
        # The one whose code is used stays.
        "invite_id": [2**40],
    }
    return World(server, ana, ids, defaultdict(set), invite["code"])


@pytest.fixture(scope="module")
def world(postgres: PostgresCluster, migrated_template: str) -> Iterator[World]:
    codes: dict[str, str | float] = {"CHAT_CODES_PER_ADDRESS_PER_HOUR": 10**6, "CHAT_CODES_PER_HOUR": 10**6}
    with ServerProcess(postgres.dsn(postgres.create_database(migrated_template)), "one", **codes) as process:
        process.wait_ready()
        made = asyncio.run(make_world(process))
        yield made
    for call in CALLS:
        seen = made.answers.get(f"{call.method} {call.path}", {call.status})
        # Else the requests below prove little of the call; a WebSocket takes more than a request of HTTP.
        assert call.status in seen or call.operation == "openWebSocket", f"{call.operation} was answered {seen} alone"


def choose(known: Sequence[Any], given: object) -> Any:
    """Return one of what is known, always the same for the same value."""
    return known[zlib.crc32(str(given).encode()) % len(known)]


def point(case: schemathesis.Case[Any], ids: dict[str, list[int]]) -> None:
    """Turn the ids, names and numbers of a request, where they are right, into some that exist or can."""
    places: tuple[Any, ...] = (case.path_parameters, case.query, case.body)
    for values in places:
        for name in values if isinstance(values, dict) else ():
            # In paths, ids are texts by now.
            given = str(values[name])
            if name in ids and re.fullmatch("[1-9][0-9]{0,18}", given) and int(given) <= bounds.MAX_ID:
                values[name] = choose(ids[name], given)
            elif name == "up_to_seq" and isinstance(values[name], int) and 0 < values[name] <= bounds.MAX_NUMBER:
                # The other messages are still needed.
                values[name] = 1
            elif name == "phone_number" and len(given) <= 64 and bounds.PHONE_NUMBER.fullmatch(given):
                values[name] = f"+1415{zlib.crc32(given.encode()) % 10**7:07d}"
            elif name == "emoji" and not unquote(given).isascii():
                values[name] = quote(choose("👍❤🎉", given))
            elif name == "to" or (name == "username" and values is case.query):
                values[name] = choose(NAMES, given) if 0 < len(given) <= 50 and given == values[name] else values[name]


def use_real_code(body: Any, server: ServerProcess) -> None:
    """Prove a new number, mostly, by the code that is sent to it, and neither by another code's id nor by a PIN."""
    right = isinstance(body, dict) and re.fullmatch("[0-7][0-9]{5}", str(body.get("code")))
    if right and re.fullmatch(r"\+1415[0-9]{7}", str(body.get("phone_number"))):
        # One that was sent a code before has to wait for the next.
        body["phone_number"] = new_number()
        asked = {"phone_number": body["phone_number"]}
        made = httpx.post(f"{server.url}/api/auth/code", json=asked, verify=NO_TLS, trust_env=False)
        assert made.status_code == httpx.codes.ACCEPTED, made.text
        body["code"] = made.json()["dev_code"]
        for name, valid in OTHER_PROOF.items():
            # What is wrong has to be refused.
            if isinstance(body.get(name), str) and valid.fullmatch(body[name]):
                del body[name]


def excused(response: schemathesis.Response) -> list[Any]:
    """Return the checks that have nothing to say of this answer."""
    if response.status_code == httpx.codes.UPGRADE_REQUIRED:
        return [positive_data_acceptance]
    if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        errors = response.json()["errors"]
        # JSON Schema counts 1.0 among the integers, the decoder does not.
        beyond = [OF_THE_SERVICES.fullmatch(one["path"]) or one["message"].endswith("got `float`") for one in errors]
        return [positive_data_acceptance] if all(beyond) else []
    return []


@pytest.mark.integration
@few.parametrize()
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_to_any_request_is_documented(case: schemathesis.Case[Any], world: World) -> None:
    ask(case, world)


@pytest.mark.soak
@pytest.mark.timeout(600 + 4 * SOAK_EXAMPLES)
@many.parametrize()
@settings(max_examples=SOAK_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_to_many_requests_is_documented(case: schemathesis.Case[Any], world: World) -> None:
    ask(case, world)


def ask(case: schemathesis.Case[Any], world: World) -> None:
    """Ask, and compare the answer with the document."""
    device, ids, operation = world.ana, world.ids, case.operation.definition.raw["operationId"]
    if operation in SIGNS_OUT:
        device = asyncio.run(sign_in(world.server))
        ids = {**ids, "device_id": [device.device_id]}
    point(case, ids)
    if operation in BY_CODE:
        device = asyncio.run(sign_in(world.server))
        given = case.body.get("code") if isinstance(case.body, dict) else None
        is_code = isinstance(given, str) and "\0" not in given and len(given) <= bounds.INVITE_CODE_MAX_CHARS
        if isinstance(case.body, dict) and is_code:
            case.body["code"] = world.code
    if operation in BY_PROOF:
        use_real_code(case.body, world.server)
    response = case.call(base_url=world.server.url, headers=device.headers)
    world.answers[case.operation.label].add(response.status_code)
    case.validate_response(response, excluded_checks=excused(response))
