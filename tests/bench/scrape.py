"""What a scrape costs: the look at the store, the text by the number of series, and what the loops notice of it.

In: the scale. Out: CPU of this process a scrape, against prometheus-client writing the same series from gauges of its
own; how late a loop ticks while a running sidecar is scraped without a pause. Must never know: what a metric means.

Series beyond the bounds of the table do not exist in a sidecar, so the bounds are lifted for 10,000.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from unittest import mock

import httpx
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from agent.export import metrics
from agent.export.metrics import Known, ProcessInfo, render
from agent.store import Store
from agent.store.figures import Distance, figures
from agent.store.snapshot import snapshot
from tests.bench.agent import home_of_sidecar, sidecar_in
from tests.bench.figures import Figure, best_cpu_s, say
from tests.bench.scale import Scale
from tests.estate import story

SERIES = {1_000: 0.020, 10_000: 0.100}
"""Bounds, in seconds a scrape."""
DELAY_S = 0.5
"""A tick of the default two seconds may be late by no more than this while somebody scrapes all the time."""


def measure(scale: Scale) -> list[Figure]:
    """By the number of series, then a running sidecar."""
    return [*_by_series(scale), *_running(scale)]


def _by_series(scale: Scale) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.at(Path(folder))
        story.tell(store)
        looked = best_cpu_s({"look": lambda: _known(store, 0)}, scale.of(8, 2))["look"]
        found = []
        for n, bound in SERIES.items():
            known, gauges = _known(store, n), _gauges(n)
            lifted = tuple(replace(metric, most=max(metric.most, n)) for metric in metrics.METRICS)
            with mock.patch.object(metrics, "METRICS", lifted):
                series = _count(render(known))
                work = {
                    "text": lambda known=known: render(known),
                    "openmetrics": lambda known=known: render(known, openmetrics=True),
                    "bare": lambda gauges=gauges: generate_latest(gauges),
                }
                best = best_cpu_s(work, scale.of(8, 2))
            say(f"    {series} series: {best['text'] * 1e3:.1f} ms and {looked * 1e3:.1f} ms for the look")
            found += [
                Figure(name=f"ms_{n}", says=f"a scrape of {n:,} series, the look at the store included",
                       value=(best["text"] + looked) * 1e3, unit="ms", bound=bound * 1e3,
                       baseline=best["bare"] * 1e3, against="prometheus-client, gauges of its own"),
                Figure(name=f"openmetrics_ms_{n}", says="the same in OpenMetrics with exemplars",
                       value=(best["openmetrics"] + looked) * 1e3, unit="ms"),
            ]  # fmt: skip
        store.close()
    return [Figure(name="look_ms", says="of each scrape the look at the store", value=looked * 1e3, unit="ms"), *found]


def _known(store: Store, n: int) -> Known:
    """The end of the story, with distances of `n` features beside what it tells."""
    far = tuple(Distance(version="home-v2", feature=f"feature_{i}", measure="ks", value=i / (n + 1)) for i in range(n))
    seen = snapshot(store, "home", story.at(story.ROWS), charts=False)
    process = ProcessInfo(version="0", started_at=story.START, resident_bytes=1, loop_lag_s={"watch": 0.1})
    return Known(seen=seen, figures=replace(figures(store, "home"), distances=far), process=process)


def _gauges(n: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    gauge = Gauge("distance", "How far.", ["alias", "version", "feature", "measure"], registry=registry)
    for i in range(n):
        gauge.labels("home", "home-v2", f"feature_{i}", "ks").set(i / (n + 1))
    return registry


def _count(text: bytes) -> int:
    return sum(1 for line in text.splitlines() if line and not line.startswith(b"#"))


def _running(scale: Scale) -> list[Figure]:
    """The longest wait between two rounds of any loop: in quiet, and while it is scraped without a pause."""
    seconds = scale.of(20.0, 3.0)
    with home_of_sidecar() as home, sidecar_in(home) as running:
        quiet_s = _latest(running.url, seconds)
        done, took = Event(), list[float]()
        scraper = Thread(target=_scrape, args=(running.url, done, took))
        scraper.start()
        try:
            scraped_s = _latest(running.url, seconds)
        finally:
            done.set()
            scraper.join()
    took.sort()
    late_s = max(0.0, scraped_s - quiet_s)
    return [
        Figure(name="http_ms", says=f"a scrape of a running sidecar, median of {len(took)} in a row",
               value=took[len(took) // 2] * 1e3, unit="ms"),
        Figure(name="late_s", says="a tick comes later for being scraped all the time", value=late_s, unit="s",
               bound=DELAY_S, baseline=quiet_s, against="longest time between two rounds without"),
    ]  # fmt: skip


def _scrape(url: str, done: Event, took: list[float]) -> None:
    while not done.is_set():
        begun = time.perf_counter()
        httpx.get(f"{url}/metrics", timeout=30).raise_for_status()
        took.append(time.perf_counter() - begun)


def _latest(url: str, seconds: float) -> float:
    """The longest that a loop of the default tick had not finished a round, seen every tenth of a second."""
    latest, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        loops = httpx.get(f"{url}/v1/status", timeout=30).json()["live"]["loops"]
        latest = max(latest, *(loop["behind_s"] for name, loop in loops.items() if name != "keep"))
        time.sleep(0.1)
    return latest
