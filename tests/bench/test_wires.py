"""What servers say, as the generator reads it: whole, in pieces, and when it is bad news."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import schedule
from bench.orders import Order, Person
from bench.wires import http, matrix, source_address, xmpp

if TYPE_CHECKING:
    from bench.wires import Connection

KEY = schedule.key(1, 0, 4711)


class Account:
    """Notes what connections tell."""

    tls = None

    def __init__(self) -> None:
        self.order = Order(wire="xmpp", urls=[], parties=[], mode="open", text="1 < 2")
        self.acks: list[int] = []
        self.deliveries: list[int] = []
        self.refusals = 0
        self.failures: list[BaseException] = []

    def acked(self, connection: Connection, due_us: int) -> None:
        assert connection is not None
        self.acks.append(due_us)

    def delivered(self, due_us: int) -> None:
        self.deliveries.append(due_us)

    def refused(self, connection: Connection) -> None:
        assert connection is not None
        self.refusals += 1

    def failed(self, error: BaseException) -> None:
        self.failures.append(error)


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        pass


# Recorded from ejabberd 23.01.
FEATURES = (
    b"<?xml version='1.0'?><stream:stream id='1' version='1.0' xmlns='jabber:client'><stream:features>"
    b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
)
SUCCESS = b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
BOUND = (
    b"<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>s1@localhost/r</jid></bind></iq>"
)
ENABLED = b"<enabled xmlns='urn:xmpp:sm:3'/>"
PRESENCE = b"<presence xml:lang='en' to='s1@localhost/r' from='s1@localhost/r'/><r xmlns='urn:xmpp:sm:3'/>"
FIRST_ACK = b"<a h='1' xmlns='urn:xmpp:sm:3'/>"
MESSAGE = (
    b"<message xml:lang='en' to='s1@localhost' from='r1@localhost/r' type='chat' id='%s'><archived by='s1@localhost' "
    b"id='17' xmlns='urn:xmpp:mam:tmp'/><stanza-id by='s1@localhost' id='17' xmlns='urn:xmpp:sid:0'/>"
    b"<body>1 &lt; 2</body></message>" % KEY
)
SIGN_IN = [FEATURES, SUCCESS, FEATURES, BOUND, ENABLED, PRESENCE + FIRST_ACK]


async def stream(account: Account) -> tuple[xmpp.Stream, Pipe]:
    made, pipe = xmpp.Stream(account, Person("s1", "r1@localhost")), Pipe()
    made.connection_made(pipe)
    return made, pipe


async def signed_in(account: Account) -> tuple[xmpp.Stream, Pipe]:
    made, pipe = await stream(account)
    for piece in SIGN_IN:
        made.data_received(piece)
    assert made.ready.done()
    return made, pipe


async def test_xmpp_signs_in_and_says_what_it_has_received() -> None:
    _, pipe = await signed_in(Account())
    assert b"AHMxAGJlbmNo" in pipe.written[1]
    assert b"<bind " in pipe.written[3]
    assert pipe.written[-1] == b"<a xmlns='urn:xmpp:sm:3' h='1'/>"


async def test_xmpp_counts_an_ack_for_each_message_in_the_order_of_sending() -> None:
    account = Account()
    made, pipe = await signed_in(account)
    for due_us in (10, 20, 30):
        made.send(schedule.key(1, 0, due_us), due_us)
    assert pipe.written[-1].endswith(b"<body>1 &lt; 2</body></message><r xmlns='urn:xmpp:sm:3'/>")
    made.data_received(b"<a h='3' xmlns='urn:xmpp:sm:3'/>")
    made.data_received(b"<a xmlns='urn:xmpp:sm:3' h='4'/>")
    assert account.acks == [10, 20, 30]


@given(cuts=st.sets(st.integers(1, 2 * len(MESSAGE) - 1)))
async def test_xmpp_reads_messages_however_the_stream_is_cut(cuts: set[int]) -> None:
    account = Account()
    made, _ = await signed_in(account)
    data = MESSAGE * 2
    places = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(places):
        made.data_received(data[start:end])
    assert account.deliveries == [4711, 4711]


async def test_xmpp_tells_a_bounced_message_from_a_delivered_one() -> None:
    account = Account()
    made, _ = await signed_in(account)
    made.data_received(MESSAGE.replace(b"type='chat'", b"type='error'"))
    assert (account.deliveries, account.refusals) == ([], 1)


@pytest.mark.parametrize("bad", [b"<failure xmlns='x'><not-authorized/></failure>", b"<stream:error><conflict/>"])
async def test_xmpp_fails_a_connection_that_cannot_sign_in(bad: bytes) -> None:
    made, _ = await stream(Account())
    made.data_received(FEATURES)
    made.data_received(bad)
    with pytest.raises(ConnectionRefusedError):
        await made.ready


async def test_xmpp_fails_the_run_when_a_signed_in_connection_ends() -> None:
    account = Account()
    made, _ = await signed_in(account)
    made.connection_lost(None)
    assert len(account.failures) == 1


ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"seq":"twelve"}'[:-1]
CHUNKED = b'HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n4;x=y\r\n: 1}\r\n0\r\n\r\n'


@pytest.mark.parametrize(("answer", "status", "body"), [(ANSWER, 200, b'{"seq":"twelve"'), (CHUNKED, 404, b'{"a": 1}')])
def test_http_answers_are_read_once_they_are_whole(answer: bytes, status: int, body: bytes) -> None:
    for length in range(len(answer)):
        assert http.parse(answer[:length]) is None
    assert http.parse(answer + ANSWER) == (status, body, len(answer))


async def test_http_sends_one_request_at_a_time_and_answers_in_order() -> None:
    connection, pipe = http.HttpConnection(Account().failed), Pipe()
    connection.connection_made(pipe)
    seen: list[tuple[str, int]] = []
    for name in "abc":
        connection.request(name.encode(), lambda status, _, name=name: seen.append((name, status)))  # type: ignore[misc] # a default binds the name
    assert pipe.written == [b"a"]
    connection.data_received(ANSWER[:20])
    connection.data_received(ANSWER[20:] + CHUNKED)
    assert pipe.written == [b"a", b"b", b"c"]
    assert seen == [("a", 200), ("b", 404)]


async def test_rest_tells_acks_from_refusals() -> None:
    account = Account()
    connection, pipe = http.HttpConnection(account.failed), Pipe()
    connection.connection_made(pipe)
    sender = http.RestSender(account, Person("token", "12"), "http://127.0.0.1:80", connection)
    for due_us in (10, 20):
        sender.send(schedule.key(1, 0, due_us), due_us)
    assert b"Authorization: Bearer token\r\n" in pipe.written[0]
    assert b'{"chat_id":12,"client_id":"00000001-0000-4000-8000-00000000000a","text":"1 < 2"}' in pipe.written[0]
    connection.data_received(ANSWER + CHUNKED)
    assert (account.acks, account.refusals) == ([10], 1)


def synced(since: str, *texts: bytes) -> bytes:
    events = b",".join(b'{"content":{"body":"%s","msgtype":"m.text"},"type":"m.room.message"}' % one for one in texts)
    body = b'{"next_batch":"%s","rooms":{"join":{"!r":{"timeline":{"events":[%s]}}}}}' % (since.encode(), events)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def test_matrix_counts_each_event_once_and_none_of_before() -> None:
    account = Account()
    connection, pipe = http.HttpConnection(account.failed), Pipe()
    connection.connection_made(pipe)
    listener = matrix.Listener(account, Person("token"), "http://127.0.0.1:80", connection)
    listener.poll()
    old, new = schedule.key(1, 0, 10), schedule.key(2, 0, 20)
    connection.data_received(synced("s1", old))
    assert listener.ready.done()
    connection.data_received(synced("s2", new + b" hello", b"no key"))
    connection.data_received(synced("s3", old, new))
    assert account.deliveries == [20]
    assert b"timeout=30000&since=s3 " in pipe.written[-1]


async def test_matrix_puts_the_key_into_the_text_and_the_transaction() -> None:
    account = Account()
    connection, pipe = http.HttpConnection(account.failed), Pipe()
    connection.connection_made(pipe)
    sender = matrix.Sender(account, Person("token", "!room:localhost"), "http://127.0.0.1:80", connection)
    sender.send(KEY, 4711)
    head, _, body = pipe.written[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /_matrix/client/v3/rooms/%21room%3Alocalhost/send/m.room.message/" + KEY)
    assert matrix.keys(body) == [KEY]
    connection.data_received(ANSWER)
    assert account.acks == [4711]


def test_each_generator_process_has_a_loopback_address_of_its_own() -> None:
    assert {source_address(process, "127.0.0.1") for process in range(3)} == {
        ("127.0.1.1", 0),
        ("127.0.1.2", 0),
        ("127.0.1.3", 0),
    }
    assert source_address(0, "chat.example.com") is None
