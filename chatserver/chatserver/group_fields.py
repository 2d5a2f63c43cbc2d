"""What a group is called and shows, and what it lets its members do. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Who = Literal["everyone", "admins"]
"""Who of the members may do something."""


class GroupFields(msgspec.Struct, frozen=True):
    """What the members of a group see of it, and what its admins have set.

    Attributes:
        who_may_send: messages; changing and deleting one's own, and reactions, are everyone's.
        who_may_edit: the name, the picture and the description.
        who_may_add: members.

    Example:
        >>> GroupFields("Team").who_may_add
        'admins'
    """

    group_name: str
    picture_url: str | None = None
    description: str | None = None
    who_may_send: Who = "everyone"
    who_may_edit: Who = "admins"
    who_may_add: Who = "admins"
