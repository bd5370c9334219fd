"""The metrics as Prometheus reads them (pure).

Lives here: the table's samples as metric families, and the bound on how many series a metric has.
Comes in: `Known`. Goes out: bytes, written by prometheus-client.
Must never know: the store, HTTP, the clock. Counters are read from the store, so they survive a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from agent.export.exemplars import EXEMPLARS, Marks
from agent.export.reads import READS, Known, ProcessInfo, Sample
from agent.export.table import KEPT_IN_STORE, METRICS, OF_EACH, Metric, reference
from agent.store.figures import Mark

__all__ = ["METRICS", "Known", "Metric", "ProcessInfo", "bounded", "reference", "render"]

OTHER = "other"
KEPT_LABELS = ("alias",)
"""Labels that stay when the rest of a counter is added up under `other`."""
LEFT_OUT = "trimtab_export_left_out"
LABEL_CHARS = 200
"""A label value is cut here."""
EXEMPLAR_CHARS = 128 - len("exchange_id")
"""OpenMetrics allows so many characters; an exemplar with a longer id is left away."""
NO_MARKS: Mapping[tuple[str, ...], Mark] = {}


def render(known: Known, *, openmetrics: bool = False) -> bytes:
    """The metrics in the Prometheus text format 0.0.4, or in OpenMetrics 1.0 with exemplars; UTF-8."""
    registry = CollectorRegistry()
    registry.register(_Reading(known))
    write: Callable[[CollectorRegistry], bytes] = exposition.generate_latest if openmetrics else generate_latest
    return write(registry)


def bounded(metric: Metric, samples: Sequence[Sample]) -> tuple[Sequence[Sample], int]:
    """At most `metric.most` samples, and how many series were left out.

    The last place of a counter goes to `other`, which is the sum of the rest, so that no exchange goes uncounted; the
    rest of a gauge has no sum and is left out.
    """
    if len(samples) <= metric.most:
        return samples, 0
    if metric.kind == "gauge":
        return samples[: metric.most], len(samples) - metric.most
    kept, rest = samples[: metric.most - 1], samples[metric.most - 1 :]
    names = zip(metric.labels, rest[0][0], strict=True)
    labels = tuple(value if name in KEPT_LABELS else OTHER for name, value in names)
    return [*kept, (labels, sum(value for _, value in rest))], len(rest) - 1


class _Reading(Collector):
    """The table, read once."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def describe(self) -> list[Family]:
        """Nothing: the registry need not read everything to learn the names."""
        return []

    def collect(self) -> Iterator[Family]:
        """One family a metric; what was left out is counted as it goes. The fleet's are the leader's."""
        left_out = 0
        of_process = self._known.process
        for metric in METRICS:
            if metric.name not in OF_EACH and not (of_process.leads and of_process.store_answers):
                continue
            if metric.name in KEPT_IN_STORE and not of_process.store_answers:
                continue
            samples = [((), float(left_out))] if metric.name == LEFT_OUT else list(READS[metric.name](self._known))
            kept, over = bounded(metric, samples)
            left_out += over
            marks = EXEMPLARS[metric.name](self._known) if metric.name in EXEMPLARS else NO_MARKS
            yield _family(metric, kept, marks)


def _family(metric: Metric, samples: Sequence[Sample], marks: Marks) -> Family:
    if metric.kind == "gauge":
        gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in samples:
            gauge.add_metric(_cut(labels), value)
        return gauge
    counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        counter.add_metric(_cut(labels), value, exemplar=_exemplar(marks.get(labels)))
    return counter


def _cut(labels: tuple[str, ...]) -> list[str]:
    return [text[:LABEL_CHARS] for text in labels]


def _exemplar(mark: Mark | None) -> Exemplar | None:
    if mark is None or len(mark.exchange_id) > EXEMPLAR_CHARS:
        return None
    return Exemplar({"exchange_id": mark.exchange_id}, 1.0, mark.at.timestamp())
