"""Alerts on the bus between chatservers where Valkey is it. What all buses have in common is in chatservers.py."""

from __future__ import annotations

from monitoring.rules.declared import CHAT, Alert, Group, Severity

GROUPS = (
    Group(
        "chatcluster-bus",
        "30s",
        (
            Alert(
                "ChatBusGaps",
                Severity.TICKET,
                "max by (namespace, chatcluster) (increase(chatserver_bus_gaps_total[15m])) > 3\n"
                "unless\n"
                "min by (namespace, chatcluster) (chatserver_bus_connected) == 0",
                "2m",
                f"Valkey loses hints of {CHAT}",
                "A chatserver missed hints {{ $value | humanize }} times within 15 minutes, although it is connected "
                "to Valkey. It read the database at once each time, so that messages were late by some tenths of a "
                "second. Valkey was flushed or evicts keys, or messages get lost on the way to it.",
            ),
            Alert(
                "ChatLimitsNotShared",
                Severity.TICKET,
                "min by (namespace, chatcluster) (chatserver_limits_shared) == 0\n"
                "unless\n"
                "min by (namespace, chatcluster) (chatserver_bus_connected) == 0",
                "5m",
                f"Rate limits of {CHAT} do not count across its servers",
                "A chatserver is connected to Valkey, which refuses to count rate limits, so the server counts for "
                "itself: a client that reaches several servers has the limit of each of them. Nobody is rejected "
                "because of it. With bus External, the ACL user probably lacks +pttl or +set.",
            ),
            Alert(
                "ChatBusMemory",
                Severity.TICKET,
                "max by (namespace, chatcluster, pod) (valkey_memory_used_bytes / (valkey_memory_max_bytes > 0)) > 0.8",
                "10m",
                f"Valkey of {CHAT} is nearly out of memory",
                "Valkey pod {{ $labels.pod }} uses {{ $value | humanizePercentage }} of its memory. When it is full, "
                "it rejects the users who connect, and chatservers read the database every 5 s instead. Raise "
                "bus.valkey.resources.limits.memory or bus.valkey.replicas.",
            ),
        ),
    ),
)
