"""Fills a database with users and chats in seconds: the rows that servers would write, made by generate_series.

The generator can compute the tokens of the devices: the database exists only for the run, on loopback.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.orders import TEXT, Person

if TYPE_CHECKING:
    from tests.support.postgres import PostgresCluster

FILL_SECONDS = 1800
"""Longest statement: ten million messages take a few minutes."""

ROWS_A_STATEMENT = 1_000_000

_USERS = """
INSERT INTO users (phone_number) SELECT '+1888' || lpad(n::text, 7, '0') FROM generate_series({first}, {last}) AS n;
INSERT INTO devices (user_id, token_hash, expires_at)
SELECT user_id, sha256(convert_to('bench' || phone_number, 'UTF8')), now() + interval '1 day'
FROM users WHERE phone_number BETWEEN '+1888{first:07}' AND '+1888{last:07}';
"""

# `pairs` selects the numbers of each chat's two users. A temporary table lasts for a session: one call.
_CHATS = """
CREATE TEMP TABLE made AS
SELECT n, a.user_id AS one, b.user_id AS two, nextval(pg_get_serial_sequence('chats', 'chat_id')) AS chat_id
FROM ({pairs}) AS w (n, first, second)
JOIN users a ON a.phone_number = '+1888' || lpad(w.first::text, 7, '0')
JOIN users b ON b.phone_number = '+1888' || lpad(w.second::text, 7, '0') ORDER BY n;
BEGIN;
INSERT INTO chats (chat_id, kind, last_seq) SELECT chat_id, 'direct', {each} FROM made;
INSERT INTO direct_chats (user_lo, user_hi, chat_id) SELECT least(one, two), greatest(one, two), chat_id FROM made;
INSERT INTO chat_members (chat_id, user_id) SELECT chat_id, unnest(ARRAY[one, two]) FROM made;
COMMIT;
"""

# n, and the numbers of two users.
_PAIRS = "SELECT n, {first} + 2 * n, {first} + 2 * n + 1 FROM generate_series(0, {most}) AS n"
_STARS = """
SELECT h * {chats} + c, {first} + h, {first} + {heads} + c
FROM generate_series(0, {heads} - 1) AS h, generate_series(0, {chats} - 1) AS c
"""

# Interleaved as in practice: the second message of each chat follows the first messages of all chats.
_MESSAGES = """
INSERT INTO messages (chat_id, seq, sender_id, client_hash, message_text, created_at)
SELECT m.chat_id, s, CASE WHEN s % 2 = 0 THEN one ELSE two END, sha256('bench'), '{text}',
    c.last_at - make_interval(secs => {each} - s)
FROM generate_series({first}, {last}) AS s, made m JOIN chats c USING (chat_id) ORDER BY s, m.chat_id;
"""

_GROUP = """
CREATE TEMP TABLE made AS SELECT user_id, nextval(pg_get_serial_sequence('chats', 'chat_id')) AS chat_id
FROM users WHERE phone_number = '+1888{first:07}';
BEGIN;
INSERT INTO chats (chat_id, kind, last_seq) SELECT chat_id, 'group', 0 FROM made;
INSERT INTO groups (group_id, group_name, created_by) SELECT chat_id, 'market', user_id FROM made;
INSERT INTO chat_members (chat_id, user_id, role)
SELECT chat_id, u.user_id, CASE WHEN u.user_id = made.user_id THEN 'admin' ELSE 'member' END
FROM made, users u WHERE u.phone_number BETWEEN '+1888{first:07}' AND '+1888{last:07}';
COMMIT;
SELECT chat_id FROM made;
"""


@dataclass(slots=True)
class Filling:
    """Creates users and chats in one database."""

    postgres: PostgresCluster
    database: str
    _users: int = field(default=0, init=False)

    def users(self, count: int) -> list[Person]:
        """Create users with one device each."""
        first = self._create_users(count)
        return [Person(_token(number)) for number in range(first, first + count)]

    def pairs(self, count: int, messages_each: int = 1) -> list[list[Person]]:
        """Create pairs with a direct chat each and messages in it; the first of a pair sends, the second receives."""
        first = self._create_users(2 * count)
        selected = _PAIRS.format(first=first, most=count - 1)
        chats = self._make_chats(selected, count, messages_each)
        return [
            [Person(_token(first + 2 * n), chat), Person(_token(first + 2 * n + 1), have={chat: messages_each})]
            for n, chat in enumerate(chats)
        ]

    def stars(self, heads: int, chats: int, messages_each: int) -> list[Person]:
        """Create users with that many direct chats each; returns these users."""
        first = self._create_users(heads + chats)
        selected = _STARS.format(first=first, heads=heads, chats=chats)
        self._make_chats(selected, heads * chats, messages_each)
        return [Person(_token(first + head)) for head in range(heads)]

    def star(self, chats: int, messages_each: int) -> tuple[Person, list[Person]]:
        """Create a user with that many direct chats; returns the user, and the others, who may write to them."""
        first = self._create_users(1 + chats)
        made = self._make_chats(_STARS.format(first=first, heads=1, chats=chats), chats, messages_each)
        others = [Person(_token(first + 1 + n), chat) for n, chat in enumerate(made)]
        return Person(_token(first), have=dict.fromkeys(made, messages_each)), others

    def group(self, members: int, senders: int) -> list[Person]:
        """Create a group, of whose members the first ones send."""
        first = self._create_users(members)
        chat = self._sql(_GROUP.format(first=first, last=first + members - 1)).split()[-1]
        return [Person(_token(first + n), chat if n < senders else "") for n in range(members)]

    def _create_users(self, count: int) -> int:
        first = self._users + 1
        self._users += count
        self._sql(_USERS.format(first=first, last=self._users) + "ANALYZE users, devices;")
        return first

    def _make_chats(self, selected: str, chats: int, messages_each: int) -> list[str]:
        step = max(1, ROWS_A_STATEMENT // chats)
        script = [_CHATS.format(pairs=selected, each=messages_each)]
        script += ["SELECT chat_id FROM made ORDER BY n;"]
        script += [
            _MESSAGES.format(text=TEXT, each=messages_each, first=seq, last=min(seq + step - 1, messages_each))
            for seq in range(1, messages_each + 1, step)
        ]
        script += ["VACUUM (ANALYZE) messages, chats, chat_members, direct_chats;"]
        return self._sql("\n".join(script)).split()

    def _sql(self, script: str) -> str:
        done = subprocess.run(
            [
                str(self.postgres.binaries / "psql"),
                *("--no-psqlrc", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("--dbname", self.postgres.dsn(self.database)),
            ],
            input=script,
            capture_output=True,
            text=True,
            timeout=FILL_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"filling the database failed:\n{done.stderr}")
        return done.stdout


def _token(number: int) -> str:
    return f"bench+1888{number:07}"
