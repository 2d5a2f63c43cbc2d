"""Prometheus metrics: one file for each subject, what they count with, and the page that shows them.

A new metric is declared in the file of its subject and counted where the thing happens. No label holds a value that a
user chose, so that the number of series has a bound that neither users nor chats raise.
"""

from __future__ import annotations

from chatserver.metrics.codes import CodeMetrics
from chatserver.metrics.connections import ConnectionMetrics
from chatserver.metrics.database import DatabaseMetrics
from chatserver.metrics.delivery import DeliveryMetrics
from chatserver.metrics.expiry import ExpiryMetrics
from chatserver.metrics.instruments import Families
from chatserver.metrics.page import METRICS_PATH, MetricsServer, make_registry
from chatserver.metrics.process import ProcessMetrics
from chatserver.metrics.requests import RequestMetrics
from chatserver.metrics.sends import SendMetrics

__all__ = ["METRICS_PATH", "Metrics", "MetricsServer"]


class Metrics:
    """This server's metrics by subject.

    Attributes:
        registry: what renders them all.
    """

    def __init__(self) -> None:
        families = Families()
        self.process = ProcessMetrics(families)
        self.connections = ConnectionMetrics(families)
        self.sends = SendMetrics(families)
        self.delivery = DeliveryMetrics(families)
        self.database = DatabaseMetrics(families)
        self.requests = RequestMetrics(families)
        self.codes = CodeMetrics(families)
        self.expiry = ExpiryMetrics(families)
        self.registry = make_registry(families)
