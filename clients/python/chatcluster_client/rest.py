"""The REST calls of one device; the only importer of httpx."""

import functools
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Self

import httpx
import msgspec

from chatcluster_client.model import Problem, problem_of, unreachable
from chatcluster_client.positions import Positions

TIMEOUT_SECONDS = 15.0
"""Longer than any wait of the server except a long poll, which adds its own."""


class RestClient:
    """REST calls to one server as one device.

    Args:
        base_url: Such as `https://chat.example.com`.
        token: The device's token; empty before sign-in.
        user_id: Whose device it is; 0 before sign-in.
        username: The user's name; empty when there is none, or before sign-in.
        tls: Verification: True for the system's authorities, or a context of one's own.
    """

    def __init__(
        self,
        base_url: str,
        token: str = "",
        user_id: int = 0,
        username: str = "",
        *,
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self.user_id = user_id
        self.username = username
        self.tls = tls
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            verify=_system_authorities() if tls is True else tls,
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        )

    @classmethod
    async def sign_in(
        cls,
        base_url: str,
        phone_number: str,
        *,
        username: str | None = None,
        code: str | None = None,
        code_id: str | None = None,
        pin: str | None = None,
        device_name: str | None = None,
        tls: ssl.SSLContext | bool = True,
    ) -> Self:
        """Sign a device in and return its client.

        Args:
            base_url: Such as `https://chat.example.com`.
            phone_number: In E.164, such as `+14155550101`.
            username: Becomes the user's name, also in the place of another that they have. None keeps the name.
            code: What the user received. None requests a code and uses the answer's `dev_code`, which
                only a development server gives.
            code_id: What `request_code` returned for this code.
            pin: The account's PIN, if it has one.
            device_name: What the list of devices shows.
            tls: As for the class.

        Raises:
            Problem: The server refused, or `code_needed`: it is no development server, and no code was given.
        """
        async with cls(base_url, tls=tls) as anonymous:
            if code is None:
                answer = await anonymous.call("POST", "/api/auth/code", {"phone_number": phone_number})
                code, code_id = answer.get("dev_code"), answer.get("code_id")
                if code is None:
                    detail = "the code went to the phone: have it sent by request_code(), and pass code and code_id"
                    raise Problem(401, "code_needed", detail)
            body = {
                "phone_number": phone_number,
                "code": code,
                "code_id": code_id,
                "pin": pin,
                "username": username,
                "device_name": device_name,
            }
            session = await anonymous.call(
                "POST", "/api/auth/session", {key: value for key, value in body.items() if value is not None}
            )
        user = session["user"]
        return cls(base_url, session["token"], user["user_id"], user.get("username") or "", tls=tls)

    @classmethod
    async def request_code(cls, base_url: str, phone_number: str, *, tls: ssl.SSLContext | bool = True) -> str | None:
        """Have a code sent to a phone number; returns the code_id to sign in with beside it.

        None comes from servers that bind a code to the address alone.

        Raises:
            Problem: The server refused.
        """
        async with cls(base_url, tls=tls) as anonymous:
            answer = await anonymous.call("POST", "/api/auth/code", {"phone_number": phone_number})
        code_id: str | None = answer.get("code_id")
        return code_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pooled connections; the token stays valid."""
        await self._http.aclose()

    async def request(
        self, method: str, path: str, body: Any = None, *, params: dict[str, Any] | None = None, wait_seconds: float = 0
    ) -> httpx.Response:
        """Make a call and return the whole answer.

        Raises:
            Problem: Any answer from 400 on, code `unreachable` with status 503 when there was none, and 422
                `validation_failed` for a path that is none.
        """
        if not path.startswith("/"):
            # A whole URL would send the token to another server.
            raise Problem(422, "validation_failed", "path: must begin with a slash, such as /api/chats")
        try:
            answer = await self._http.request(
                method, path, json=body, params=params, timeout=TIMEOUT_SECONDS + wait_seconds
            )
        except httpx.HTTPError as error:
            raise unreachable(error) from error
        except httpx.InvalidURL as error:
            raise Problem(422, "validation_failed", f"path: {error}") from None
        except UnicodeEncodeError as error:
            detail = f"the request has an unpaired surrogate at character {error.start}; remove it"
            raise Problem(422, "validation_failed", detail) from None
        if answer.status_code < httpx.codes.BAD_REQUEST:
            return answer
        raise _refused(answer)

    async def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Make a call and return its JSON, None for an empty answer.

        Raises:
            Problem: As `request`; also an answer that is no JSON (502 `bad_answer`).
        """
        answer = await self.request(method, path, body, params=params or None)
        return _decoded(answer, Any) if answer.content else None

    async def send(self, text: str, *, client_id: str, to: str | None = None, chat_id: int | None = None) -> Any:
        """Send by REST; returns `{message_id, chat_id, seq, status, created_at, duplicate}`."""
        target = {"to": to} if chat_id is None else {"chat_id": chat_id}
        return await self.call("POST", "/api/messages", {**target, "text": text, "client_id": client_id})

    async def poll(
        self, since: str | None, *, limit: int | None = None, wait_seconds: int = 0, events: bool = False
    ) -> tuple[list[dict[str, Any]], str]:
        """Poll for new messages: the rows, oldest first, and the cursor for the next call."""
        params: dict[str, Any] = {"since": since, "limit": limit, "wait": wait_seconds or None}
        params |= {"events": "true"} if events else {}
        answer = await self.request(
            "GET",
            "/api/messages",
            params={key: value for key, value in params.items() if value is not None},
            wait_seconds=wait_seconds,
        )
        if "X-Next-Since" not in answer.headers:
            raise Problem(502, "bad_answer", "the answer has no X-Next-Since header")
        return _decoded(answer, list[dict[str, Any]]), answer.headers["X-Next-Since"]

    async def chats(self, cursor: str | None = None, *, limit: int = 200, changed_since: str | None = None) -> Any:
        """One page of the user's chats, the most recently active first: `{chats, next_cursor, next_changed_since}`.

        Args:
            cursor: The last page's `next_cursor`.
            limit: Chats of one page at most.
            changed_since: The `next_changed_since` of an earlier last page: only chats that have changed since.

        Raises:
            Problem: The server refused; 410 when the database was restored since.
        """
        given = {"cursor": cursor, "changed_since": changed_since}
        return await self.call(
            "GET", "/api/chats", limit=limit, **{name: value for name, value in given.items() if value}
        )

    async def positions(self) -> Positions:
        """Return the current positions of all chats, for a client that begins with new rows.

        Raises:
            Problem: The server refused.
        """
        positions, cursor, seen = Positions(), None, set[str]()
        while True:
            page = await self.chats(cursor)
            positions.have |= {chat["chat_id"]: chat["last_seq"] for chat in page["chats"]}
            cursor = page["next_cursor"]
            # A repeated cursor would loop for ever.
            if cursor is None or cursor in seen:
                return positions
            seen.add(cursor)

    async def history(self, chat_id: int, *, after_seq: int, limit: int = 200) -> list[dict[str, Any]]:
        """Rows of all kinds of a chat after a seq, oldest first."""
        return (await self.history_page(chat_id, after_seq=after_seq, limit=limit))[0]

    async def history_page(
        self, chat_id: int, *, after_seq: int, limit: int = 200
    ) -> tuple[list[dict[str, Any]], bool]:
        """As `history`, and whether more rows remain."""
        path = f"/api/chats/{chat_id}/messages"
        answer = await self.request("GET", path, params={"after": after_seq, "limit": limit})
        return _decoded(answer, list[dict[str, Any]]), answer.headers.get("X-More") == "true"

    async def lookup(
        self, *, phone_numbers: Sequence[str] = (), usernames: Sequence[str] = (), user_ids: Sequence[int] = ()
    ) -> Any:
        """Look up to 500 users of each kind up: `{users, phone_numbers, usernames, errors}`.

        The second and the third have the id of the user for each that was given, or None.
        """
        body = {"phone_numbers": list(phone_numbers), "usernames": list(usernames), "user_ids": list(user_ids)}
        return await self.call("POST", "/api/users/lookup", body)

    async def change_number(
        self, phone_number: str, *, code: str, code_id: str | None = None, pin: str | None = None
    ) -> Any:
        """Give the account another number, with a code that `request_code` had sent to it; returns the profile."""
        body = {"phone_number": phone_number, "code": code, "code_id": code_id, "pin": pin}
        return await self.call("PUT", "/api/users/me/phone_number", body)

    async def set_pin(self, pin: str | None, *, current_pin: str | None = None) -> None:
        """Set or change the PIN that sign-ins need beside the code, or remove it: None."""
        await self.call("PUT", "/api/users/me/pin", {"pin": pin, "current_pin": current_pin})

    async def export(self, write: Callable[[bytes], object]) -> None:
        """Fetch all data of the user: `write` gets the file, lines of JSON, in pieces of any size.

        Raises:
            Problem: The server refused, or `unreachable`: the file is incomplete.
        """
        try:
            async with self._http.stream("GET", "/api/users/me/export") as answer:
                if answer.status_code >= httpx.codes.BAD_REQUEST:
                    await answer.aread()
                    raise _refused(answer)
                async for piece in answer.aiter_bytes():
                    write(piece)
        except httpx.HTTPError as error:
            raise unreachable(error) from error

    async def set_chat(self, chat_id: int, **settings: bool | str | None) -> Any:
        """Set `archived`, `pinned`, `marked_unread` or `muted_until` (RFC 3339, or None) of a chat, for oneself."""
        return await self.call("PATCH", f"/api/chats/{chat_id}", settings)

    async def set_privacy(self, **settings: str | bool) -> Any:
        """Set who sees `last_seen`, `picture`, `about`, who may add one to `groups`, and `read_receipts`; returns all.

        The first four are `everyone`, `contacts` or `nobody`, the last one is true or false.
        """
        return await self.call("PATCH", "/api/users/me/privacy", settings)

    async def clear_history(self, chat_id: int, *, up_to_seq: int) -> Any:
        """Delete all rows of a chat up to a seq, for oneself."""
        return await self.call("POST", f"/api/chats/{chat_id}/clear", {"up_to_seq": up_to_seq})

    async def set_timer(self, chat_id: int, seconds: int | None) -> Any:
        """Have the messages sent to a chat from now on disappear after so many seconds, for all; None: they stay."""
        return await self.call("PUT", f"/api/chats/{chat_id}/timer", {"seconds": seconds})

    async def star(self, chat_id: int, seq: int, *, starred: bool = True) -> Any:
        """Star a message, for oneself, or remove the star."""
        return await self.call("PUT" if starred else "DELETE", f"/api/chats/{chat_id}/messages/{seq}/star")

    async def change_group(self, group_id: int, **fields: str | None) -> Any:
        """Change `group_name`, `picture_url`, `description` or who may do what in a group; returns the group.

        `who_may_send`, `who_may_edit` and `who_may_add` are each `everyone` or `admins`. None clears the picture or
        the description; what is not given stays.
        """
        return await self.call("PATCH", f"/api/groups/{group_id}", fields)

    async def create_invite(self, group_id: int, **options: int) -> Any:
        """Make an invite to a group (`expires_in`, in seconds; `max_uses`); its secret `code` is shown only here."""
        return await self.call("POST", f"/api/groups/{group_id}/invites", options)

    async def invites(self, group_id: int) -> list[dict[str, Any]]:
        """The valid invites of a group, the newest first, without their codes."""
        answer = await self.request("GET", f"/api/groups/{group_id}/invites")
        invites: _Invites = _decoded(answer, _Invites)
        return invites.invites

    async def revoke_invite(self, group_id: int, invite_id: int) -> None:
        """Revoke an invite, at once."""
        await self.call("DELETE", f"/api/groups/{group_id}/invites/{invite_id}")

    async def preview_invite(self, code: str) -> Any:
        """What the group of an invite shows: `{group_name, picture_url, description, member_count}`."""
        return await self.call("POST", "/api/invites/preview", {"code": code})

    async def join_group(self, code: str) -> Any:
        """Join the group of an invite; returns `{chat_id, seq}`, with `seq` None for a member."""
        return await self.call("POST", "/api/invites/join", {"code": code})

    async def stars(self, cursor: str | None = None, *, limit: int = 50) -> Any:
        """One page of starred messages, the newest star first: `{stars, next_cursor}`."""
        return await self.call("GET", "/api/stars", limit=limit, **({"cursor": cursor} if cursor else {}))

    async def message_info(self, chat_id: int, seq: int) -> list[dict[str, Any]]:
        """When each member received and read a message of one's own: `[{user_id, delivered_at, read_at}]`."""
        info: _Info = _decoded(await self.request("GET", f"/api/chats/{chat_id}/messages/{seq}/info"), _Info)
        return info.members


@functools.cache
def _system_authorities() -> ssl.SSLContext:
    """Read once for all clients of a program: it takes 50 ms of CPU, in which an event loop does nothing else."""
    return httpx.create_ssl_context(trust_env=False)


class _Info(msgspec.Struct, frozen=True):
    members: list[dict[str, Any]]


class _Invites(msgspec.Struct, frozen=True):
    invites: list[dict[str, Any]]


def _refused(answer: httpx.Response) -> Problem:
    return problem_of(answer.status_code, answer.content, answer.reason_phrase, answer.headers.get("Retry-After"))


def _decoded(answer: httpx.Response, expected: Any) -> Any:
    try:
        return msgspec.json.decode(answer.content, type=expected)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(502, "bad_answer", f"the answer cannot be read: {type(error).__name__}") from error
