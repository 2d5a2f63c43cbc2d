"""Cron expressions of five fields, in UTC. The only file that imports cronsim. Pure: the time is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    import datetime as dt


def fault(expression: str, now: dt.datetime) -> str | None:
    """What is wrong with an expression; None where nothing is.

    Args:
        expression: Five fields: minute, hour, day of the month, month, day of the week.
        now: From when on it has to occur, with its zone.
    """
    try:
        following(expression, now)
    except CronSimError as error:
        return str(error)
    except StopIteration:
        return "no day of the calendar fits"
    return None


def following(expression: str, after: dt.datetime) -> dt.datetime:
    """The first time after `after` that an expression names.

    Raises:
        CronSimError: It is no expression.
        StopIteration: There is no such time.
    """
    return next(CronSim(expression, after))
