"""Passwords and keys: those that the Secrets hold, the next step of a rotation, and new ones for what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatoperator.kube.objects import annotation, secret_text
from chatoperator.metadata import chatserver_secret_name, database_secret_name
from chatoperator.parts.credentials import Credentials
from chatoperator.parts.database import logins

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatoperator.api.spec import ChatCluster
    from chatoperator.metadata import Manifest
    from chatoperator.observed import Observed
    from chatoperator.parts.losses import Losses


def decide(
    cluster: ChatCluster,
    body: Manifest,
    observed: Observed,
    losses: Losses,
    *,
    unix_time: int,
    new_secret: Callable[[], str],
) -> Credentials:
    """What the Secrets hold, at most one step of a rotation further; what they lack is made unless it is lost.

    Args:
        cluster: The parsed spec.
        body: The ChatCluster; an annotation requests a rotation.
        observed: Its children, and what the running parts report.
        losses: A key that is lost is restored, or not replaced.
        unix_time: The time, in seconds since 1970.
        new_secret: Makes a password or key.
    """
    secret = observed.child("Secret", database_secret_name(cluster.name))
    key_name = chatserver_secret_name(cluster.name)
    known_key = secret_text(observed.child("Secret", key_name), "secret-key") or losses.key
    key = known_key or ("" if ("Secret", key_name) in losses.withheld else new_secret())
    servers = observed.component("chatserver")
    readings = [None if server.terminating else observed.readings.get(server.name) for server in servers]
    made = logins.advance(
        logins.read(
            lambda name: secret_text(secret, name), ((secret or {}).get("metadata") or {}).get("annotations") or {}
        ),
        request=annotation(body, logins.REQUEST_ANNOTATION),
        signs=logins.Signs(
            applied=observed.agent.credentials if observed.agent else None,
            followed=tuple(reading.login if reading else None for reading in readings),
        ),
        salt=key,
        now=unix_time,
        new_password=new_secret,
    )
    if cluster.database.instances > 1:
        made = logins.with_replication(made, new_secret)
    return Credentials(logins=made, chatserver_key=key)
