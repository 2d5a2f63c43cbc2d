"""What is counted: counters, gauges and histograms as plain numbers and lists, and the families that have labels.

They are counted from the event loop alone, without a lock, and read from the thread that answers scrapes. An
observation costs a fifth of one of prometheus_client (0.26 us instead of 1.43 us), which a message that costs 35 us
makes several times. No I/O; ``page.py`` renders them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping  # noqa: TC003 - mypyc evaluates the annotations of a dataclass
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Kind = Literal["counter", "gauge", "histogram"]


class Total:
    """A number that only grows.

    Example:
        >>> sent = Total()
        >>> sent.inc()
        >>> sent.inc(2)
        >>> sent.value
        3.0
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0.0

    def inc(self, amount: float = 1) -> None:
        """Count one more, or several."""
        self.value += amount


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("_read", "_value")

    def __init__(self) -> None:
        self._value: float = 0.0
        self._read: Callable[[], float] | None = None

    @property
    def value(self) -> float:
        """The present number."""
        return self._value if self._read is None else self._read()

    def set(self, value: float) -> None:
        """Set the number."""
        self._value = value

    def set_function(self, read: Callable[[], float]) -> None:
        """Have the number read at each scrape, from the thread that answers it: it must be one atomic look."""
        self._read = read


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation that can be looked up elsewhere.

    Attributes:
        labels: an id under which logs or clients know it; never content of a user.
        value: what was observed.
        at: Unix seconds.
    """

    labels: Mapping[str, str]
    value: float
    at: float


class Histogram:
    """How often values were at most each of some bounds.

    Args:
        bounds: upper bounds, ascending; values above the last one are counted too.

    Attributes:
        counts: of each bound alone, and of what is above the last one; not cumulative.
        sum: of all values.
        exemplars: the newest one of each place of ``counts`` that has one.

    Example:
        >>> waits = Histogram((0.1, 1))
        >>> waits.observe(0.1)
        >>> waits.observe(5, 2)
        >>> waits.counts, waits.sum, waits.count
        ([1, 0, 2], 10.1, 3)
    """

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum: float = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def observe(self, value: float, count: int = 1) -> None:
        """Count a value, or one that was observed several times."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count

    def keep_exemplar(self, exemplar: Exemplar) -> None:
        """Keep an observed value as the example of its bucket, instead of the one before."""
        self.exemplars[bisect_left(self.bounds, exemplar.value)] = exemplar


Instrument = TypeVar("Instrument", bound=Total | Gauge | Histogram)


class Family(Generic[Instrument]):
    """All instruments of one name, by the values of their labels.

    Args:
        name: as rules name it; that of a counter without its ``_total``.
        text: what it counts, for whoever reads the page.
        kind: of its instruments.
        label_names: none for a family of one instrument.
        make: makes an instrument.

    Attributes:
        instruments: by the values of the labels, in their order; ``()`` without labels.
        refresh: called before each scrape, from its thread, for what is counted elsewhere; None: nothing is.
    """

    __slots__ = ("_make", "instruments", "kind", "label_names", "name", "refresh", "text")

    def __init__(
        self, name: str, text: str, kind: Kind, label_names: Sequence[str], make: Callable[[], Instrument]
    ) -> None:
        self.name = name
        self.text = text
        self.kind = kind
        self.label_names = tuple(label_names)
        self.instruments: dict[tuple[str, ...], Instrument] = {}
        self.refresh: Callable[[], None] | None = None
        self._make = make

    def labels(self, *values: str) -> Instrument:
        """Return the instrument of some label values; no value may be one that a user chose."""
        instrument = self.instruments.get(values)
        if instrument is None:
            instrument = self.instruments[values] = self._make()
        return instrument

    def clear(self) -> None:
        """Forget all instruments."""
        self.instruments = {}


class Families:
    """All families of a process.

    Every method declares one. Label values that are known beforehand are published as 0 from the start, because a rule
    sees no increase of a series that begins with 1.
    """

    def __init__(self) -> None:
        self._families: dict[str, Family[Any]] = {}

    def all(self) -> list[Family[Any]]:
        """Return the families in the order of their declaration."""
        return list(self._families.values())

    def counter(self, name: str, text: str) -> Total:
        """Declare a counter without labels."""
        return self.counters(name, text, (), [()]).labels()

    def counters(
        self, name: str, text: str, label_names: Sequence[str], known: Iterable[tuple[str, ...]] = ()
    ) -> Family[Total]:
        """Declare a family of counters."""
        return self._declare(Family(name, text, "counter", label_names, Total), known)

    def gauge(self, name: str, text: str) -> Gauge:
        """Declare a gauge without labels."""
        return self.gauges(name, text, (), [()]).labels()

    def gauges(
        self, name: str, text: str, label_names: Sequence[str], known: Iterable[tuple[str, ...]] = ()
    ) -> Family[Gauge]:
        """Declare a family of gauges."""
        return self._declare(Family(name, text, "gauge", label_names, Gauge), known)

    def histogram(self, name: str, text: str, bounds: Sequence[float]) -> Histogram:
        """Declare a histogram without labels."""
        return self.histograms(name, text, (), bounds, [()]).labels()

    def histograms(
        self,
        name: str,
        text: str,
        label_names: Sequence[str],
        bounds: Sequence[float],
        known: Iterable[tuple[str, ...]] = (),
    ) -> Family[Histogram]:
        """Declare a family of histograms."""
        return self._declare(Family(name, text, "histogram", label_names, lambda: Histogram(bounds)), known)

    def _declare(self, family: Family[Instrument], known: Iterable[tuple[str, ...]]) -> Family[Instrument]:
        if family.name in self._families:
            raise ValueError(f"{family.name} is declared twice")
        for values in known:
            family.labels(*values)
        self._families[family.name] = family
        return family
