"""What holds for every test run: a sign of life in long tests, and no skipped test in CI.

In: pytest's hooks. Out: one line every 20 s while a test runs on; with CI=true a skip becomes a failure.
Must never know: what any test is about.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator
from typing import TypeVar, cast

import pytest

from tests.estate.fixtures import tiny_adapters, tiny_model, vllm_tiny
from tests.estate.postgres import database, postgres

__all__ = ["database", "postgres", "tiny_adapters", "tiny_model", "vllm_tiny"]  # fixtures for everybody

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: a second thread waits more than it works
HEARTBEAT_S = 20.0
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}


class Heartbeat:
    """Says on the real standard output which test is running, whenever one takes long."""

    def __init__(self) -> None:
        self._output = os.dup(1)  # before pytest captures it
        self._now: tuple[str, float] | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note the test's name and start while it runs."""
        self._now = (item.nodeid, time.monotonic())
        try:
            return (yield)
        finally:
            self._now = None

    def pytest_unconfigure(self) -> None:
        """Stop the thread and give the descriptor back."""
        self._end.set()
        self._thread.join()
        os.close(self._output)

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT_S):
            if (now := self._now) is not None and (passed_s := time.monotonic() - now[1]) >= HEARTBEAT_S:
                os.write(self._output, f"\n  ... {now[0]} ({passed_s:.0f} s)\n".encode())


FIRST = ("tests/e2e/", "tests/bench/")
"""The longest tests, which begin first where several processes share the work."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where pytest-xdist shares the work: one vLLM for all who ask for it, a file's fixtures built once."""
    for item in items:
        uses_engine = "vllm_tiny" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("engine" if uses_engine else item.nodeid.split("::", 1)[0]))
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


def pytest_configure(config: pytest.Config) -> None:
    """Start the heartbeat."""
    config.pluginmanager.register(Heartbeat(), "heartbeat")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where nothing may be skipped."""
    return _never_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """As above, for a whole file that skips itself."""
    return _never_skipped((yield))


def _never_skipped(report: Report) -> Report:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = cast("tuple[str, int, str]", report.longrepr)[2]
        report.outcome = "failed"
        report.longrepr = f"{reason} (with CI=true nothing may be skipped)"
    return report
