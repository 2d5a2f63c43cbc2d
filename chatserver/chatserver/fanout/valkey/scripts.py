"""What Valkey executes: the registry and its look-up, each as one script, so that a batch costs one command.

Keys and channels, after the prefix:

- ``:user:ID``: a set with the servers where the user is connected; it expires unless they refresh it.
- ``:watched:ID``: likewise, the servers where somebody watches the user's presence.
- ``:servers``: a set with all servers.
- ``:count:SERVER``: the number of the last message on the server's channel.
- ``:limit:SUBJECT``: a rate limit (``limit_counts.py``).
- ``:to:SERVER``: the server's channel. A message is its number, and a hint in each further line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Kind = Literal["user", "watched"]
"""Which servers an entry of the registry names: where a user is connected, or is watched."""

EXPIRE_SECONDS = 3600
"""Time after which Valkey forgets what a server that was killed has registered."""

REGISTER: Final = """
for _, id in ipairs(cmsgpack.unpack(ARGV[4])) do
  local key = string.format('%s:%s:%.0f', ARGV[1], ARGV[2], id)
  redis.call('SADD', key, ARGV[3])
  redis.call('EXPIRE', key, ARGV[5])
end
"""

UNREGISTER: Final = """
for _, id in ipairs(cmsgpack.unpack(ARGV[4])) do
  redis.call('SREM', string.format('%s:%s:%.0f', ARGV[1], ARGV[2], id), ARGV[3])
end
"""

# A message without hints to the server itself: it shows that all before it have arrived. Returns how many keys Valkey
# has evicted: they may be users of the registry.
BEAT: Final = """
redis.call('SADD', ARGV[1] .. ':servers', ARGV[2])
local count = ARGV[1] .. ':count:' .. ARGV[2]
local number = redis.call('INCR', count)
redis.call('EXPIRE', count, ARGV[3])
redis.call('PUBLISH', ARGV[1] .. ':to:' .. ARGV[2], number)
return tonumber(string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)'))
"""

# Servers without a subscription are forgotten: those that are alive register again once they subscribe again.
# unpack() takes some thousand values.
PUBLISH: Final = """
local prefix = ARGV[1]
local messages, servers, keys = {}, {}, {}
local function add(targets, hint, except)
  for _, server in ipairs(targets) do
    if server ~= except then
      local message = messages[server]
      if not message then
        message = {}
        messages[server] = message
        servers[#servers + 1] = server
      end
      if message[#message] ~= hint then message[#message + 1] = hint end
    end
  end
end
for _, letter in ipairs(cmsgpack.unpack(ARGV[2])) do
  local hint, ids, except, kind = letter[1], letter[2], letter[3], letter[4]
  if ids == true then
    keys[#keys + 1] = prefix .. ':servers'
    add(redis.call('SMEMBERS', keys[#keys]), hint, except)
  else
    for first = 1, #ids, 1000 do
      local chunk = {}
      for i = first, math.min(first + 999, #ids) do
        chunk[#chunk + 1] = string.format('%s:%s:%.0f', prefix, kind, ids[i])
        keys[#keys + 1] = chunk[#chunk]
      end
      add(redis.call('SUNION', unpack(chunk)), hint, except)
    end
  end
end
for _, server in ipairs(servers) do
  local count = prefix .. ':count:' .. server
  local message = redis.call('INCR', count) .. '\\n' .. table.concat(messages[server], '\\n')
  if redis.call('PUBLISH', prefix .. ':to:' .. server, message) == 0 then
    redis.call('DEL', count)
    redis.call('SREM', prefix .. ':servers', server)
    for _, key in ipairs(keys) do redis.call('SREM', key, server) end
  end
end
return #servers
"""

_ENCODER: Final = msgspec.msgpack.Encoder()


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """A hint and whom it is for.

    Attributes:
        hint: encoded, one line; text, since Valkey's scripts do not read binary data of MessagePack.
        to: ids of users; True: all servers.
        but: a server that does not get it; empty: none.
        of: the servers of these users: where they are connected, or watched.
    """

    hint: str
    to: list[int] | bool
    but: str = ""
    of: Kind = "user"


def pack_letters(letters: Iterable[Letter]) -> bytes:
    """Return the argument of PUBLISH."""
    return _ENCODER.encode(list(letters))


def pack_users(user_ids: Collection[int]) -> bytes:
    """Return the argument of REGISTER and UNREGISTER."""
    return _ENCODER.encode(list(user_ids))
