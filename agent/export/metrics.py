"""The metrics as Prometheus reads them (pure).

Lives here: the table's samples as text or OpenMetrics, and the bound on how many series a metric has.
Comes in: `Known`. Goes out: bytes.
Must never know: the store, HTTP, the clock. Counters are read from the store, so they survive a restart.

Written here rather than by prometheus-client, which makes objects of its own for every sample: a fifth of the time for
10,000 series, and that long the loops wait. The tests hold it to prometheus-client's output and to its parsers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from agent.export.exemplars import EXEMPLARS, Marks
from agent.export.reads import READS, Known, ProcessInfo, Sample
from agent.export.table import METRICS, Metric, reference
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
    """The metrics in the Prometheus text format 0.0.4, or in OpenMetrics 1.0 with exemplars; UTF-8.

    The two differ in the name that a counter's type is told under, in exemplars, and in a last line.
    """
    lines: list[str] = []
    left_out = 0
    for metric in METRICS:
        samples = [((), float(left_out))] if metric.name == LEFT_OUT else list(READS[metric.name](known))
        kept, over = bounded(metric, samples)
        left_out += over
        name = metric.name.removesuffix("_total") if openmetrics else metric.name
        lines += (f"# HELP {name} {_escaped(metric.help)}", f"# TYPE {name} {metric.kind}")
        if openmetrics and metric.name in EXEMPLARS:
            lines += _lines(metric, kept, EXEMPLARS[metric.name](known))
        else:
            lines += _lines(metric, kept, NO_MARKS)
    if openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines).encode()


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


def _lines(metric: Metric, samples: Sequence[Sample], marks: Marks) -> Iterator[str]:
    for labels, value in samples:
        shown = ""
        if labels:
            pairs = zip(metric.labels, labels, strict=True)
            shown = (
                "{" + ",".join([f'{name}="{_escaped(text[:LABEL_CHARS], quoted=True)}"' for name, text in pairs]) + "}"
            )
        mark = marks.get(labels) if marks else None
        yield f"{metric.name}{shown} {_number(value)}{_exemplar(mark)}"


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _exemplar(mark: Mark | None) -> str:
    if mark is None or len(mark.exchange_id) > EXEMPLAR_CHARS:
        return ""
    return f' # {{exchange_id="{_escaped(mark.exchange_id, quoted=True)}"}} 1.0 {mark.at.timestamp()!r}'


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quoted else text
