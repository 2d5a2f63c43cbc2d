"""What can go wrong in the plugin, with what to do about it."""

from __future__ import annotations


class PluginError(Exception):
    """Base of the plugin's own errors; the text names the remedy.

    Attributes:
        code: Stable word for tests and scripts.
        exit_status: Of the process.
    """

    code = "PluginError"
    exit_status = 1


class Misuse(PluginError):
    """The command line names something that does not exist."""

    code = "Misuse"
    exit_status = 2


class NoSuchChat(PluginError):
    """There is no such ChatCluster, or more than one to choose from."""

    code = "NoSuchChat"


class NotAServer(PluginError):
    """The pod to drain is none of a ChatCluster's chatservers."""

    code = "NotAServer"


class NotNow(PluginError):
    """The cluster refuses the eviction at this moment; the same command may succeed later."""

    code = "NotNow"


class NotGone(PluginError):
    """The server had not left by the end of the time given."""

    code = "NotGone"


class SingleDatabase(PluginError):
    """The database has no second instance."""

    code = "SingleDatabase"


class NotSwitched(PluginError):
    """No other instance of the database led by the end of the time given."""

    code = "NotSwitched"


class NoBackups(PluginError):
    """The ChatCluster makes no backups."""

    code = "NoBackups"


class NotBackedUp(PluginError):
    """The backup failed, or had not ended by the end of the time given."""

    code = "NotBackedUp"


class NothingToUndo(PluginError):
    """No restore has been made in place."""

    code = "NothingToUndo"


class NotConfirmed(PluginError):
    """The user did not confirm."""

    code = "NotConfirmed"


class NotRestored(PluginError):
    """The restore was refused, failed, or had not ended by the end of the time given."""

    code = "NotRestored"


class NoDrills(PluginError):
    """The ChatCluster makes no restore drills, or none now."""

    code = "NoDrills"


class NotDrilled(PluginError):
    """The restore drill failed, or had not ended by the end of the time given."""

    code = "NotDrilled"


class KubectlError(PluginError):
    """The kubectl program failed.

    Attributes:
        reason: Kubernetes' word for it, such as `NotFound`; empty where there is none.
    """

    code = "KubectlError"

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def is_missing(self) -> bool:
        """Whether the object does not exist."""
        return self.reason == "NotFound"
