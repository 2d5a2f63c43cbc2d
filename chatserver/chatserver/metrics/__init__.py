"""Prometheus metrics: one file for each subject, what they count with, and the page that shows them.

A new metric is declared in the file of its subject and counted where the thing happens. No label holds a value that a
user chose, so that the number of series has a bound that neither users nor chats raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatserver.metrics.codes import CodeMetrics
from chatserver.metrics.connections import ConnectionMetrics
from chatserver.metrics.database import DatabaseMetrics
from chatserver.metrics.delivery import DeliveryMetrics
from chatserver.metrics.instruments import Families
from chatserver.metrics.page import METRICS_PATH, MetricsServer, make_registry
from chatserver.metrics.process import ProcessMetrics
from chatserver.metrics.requests import RequestMetrics
from chatserver.metrics.sends import SendMetrics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["METRICS_PATH", "Metrics", "MetricsServer"]


class Metrics:
    """This server's metrics by subject."""

    def __init__(self) -> None:
        self._families = Families()
        self.process = ProcessMetrics(self._families)
        self.connections = ConnectionMetrics(self._families)
        self.sends = SendMetrics(self._families)
        self.delivery = DeliveryMetrics(self._families)
        self.database = DatabaseMetrics(self._families)
        self.requests = RequestMetrics(self._families)
        self.codes = CodeMetrics(self._families)

    @property
    def registry(self) -> CollectorRegistry:
        """What renders them all."""
        return make_registry(self._families)
