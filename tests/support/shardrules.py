"""Where each table lives once the chats are sharded, and what does not keep to that yet (docs/decisions/0064).

The dicts of what is left name each exception with what will end it. They may only shrink.
"""

from __future__ import annotations

DIRECTORY = frozenset(
    {
        "account_deletions", "audit_events", "auth_codes", "blocks", "code_counters", "code_requests", "devices",
        "direct_chats", "found_numbers", "group_requests", "number_budgets", "pins", "presence", "privacy",
        "rate_counters", "self_chats", "servers", "user_id_key", "users", "ws_tickets",
    }
)  # fmt: skip
"""Tables by user, device, number or server: in one database for all shards."""

SHARD = frozenset(
    {
        "chat_members", "chats", "expired_sends", "expiries", "group_invites", "groups", "message_versions", "messages",
        "receipts", "stars",
    }
)  # fmt: skip
"""Tables by chat_id: in the schema of the chat's shard."""

EVERYWHERE = frozenset({"hint_slots", "meta", "retention_walk", "schema_migrations"})
"""Tables that every database has for itself."""

_NAMES = "names come from the server's cache of the directory"
_BLOCKS = "blocks come from the directory before the statement"
_MEMBERS = "the two members come from chat_members, which has them too"
_CLAIM = "the directory claims the pair and the id first, then the shard makes the chat"

SPANNING = {
    "blocks.lock_self_chat": _CLAIM,
    "changes.lock_place": _BLOCKS,
    "chats.listed": _NAMES,
    "chats.members_of": _NAMES,
    "deletion.close_direct_chats": "the directory knows whom a user has direct chats with",
    "feed.read_rows": _NAMES,
    "feed.read_shared_rows": _NAMES,
    "messages.deliveries": _NAMES,
    "messages.history_rows": _NAMES,
    "messages.light_deliveries": _NAMES,
    "messages.open_direct_chat": _CLAIM,
    "messages.store_messages": f"{_NAMES}; {_BLOCKS}; {_MEMBERS}",
    "presence.watched": "the relations are read apart",
    "probe._add": _CLAIM,
    "probe.prune": "the chat is looked up apart",
    "receipts.raise_watermarks": f"{_BLOCKS}; {_MEMBERS}",
    "relations.relations": "common chats from the shards, blocks from the directory",
    "sync.missed_rows": _NAMES,
    "sync.stands": _NAMES,
}
"""Statements that use tables of the directory and of a shard: {module.function: what will end that}."""

REFERENCES = {
    ("chat_members", "users"),
    ("direct_chats", "chats"),
    ("group_requests", "groups"),
    ("groups", "users"),
    ("self_chats", "chats"),
}
"""Foreign keys between the directory and a shard, which end with the first shard: (the referring table, the other)."""

VOLATILE = {
    "accounts.sign_in": frozenset({"now"}),
    "append_event()": frozenset({"clock_timestamp"}),
    "codes.count": frozenset({"now"}),
    "groups.add_member": frozenset({"now"}),
    "probe._add": frozenset({"clock_timestamp"}),
}
"""What Citus refuses in a distributed schema: {place: functions}, VOLATILE ones in an UPDATE and those that are not
IMMUTABLE in an ON CONFLICT. The value becomes a variable, a parameter, or that of `excluded`."""

LAST_UNCHECKED_MIGRATION = 23
"""Migrations up to here are older than the rules for migrations."""
