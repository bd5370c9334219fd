"""The real monitors: Prometheus and Alertmanager as Debian ships them, and a whole agent for them to look at.

Lives here: starting and stopping each, and asking Prometheus.
Comes in: a folder, ports, rules. Goes out: addresses.
Must never know: which test asks, and what it expects.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from agent.app.address import usable_port
from agent.app.main import Agent
from agent.settings import Settings
from retrain.demo.process import free_port
from tests.needs import need

PROMETHEUS = "sudo apt-get install -y --no-install-recommends prometheus"
ALERTMANAGER = "sudo apt-get install -y --no-install-recommends prometheus-alertmanager"


def until(true: Callable[[], Any], within_s: float = 240.0, every_s: float = 0.2) -> Any:
    """What `true` gives, once it is true."""
    deadline = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(every_s)
    return found


@contextmanager
def agent_running(
    settings: Mapping[str, Any], *, resting: Sequence[str] = ("launch",), **tokens: str
) -> Iterator[Agent]:
    """A whole agent on a free port, over whatever its home holds, but for the loops that rest."""
    tree = Settings.model_validate(settings)
    port = usable_port("127.0.0.1", 0)
    tree = tree.model_copy(update={"http": tree.http.model_copy(update={"port": port})})
    agent = Agent(tree, "", **tokens)
    for name in resting:
        agent.loops._loops[name] = lambda _now: "not in this test"
    stop, loop = asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(agent.run(stop),), name="agent")
    thread.start()
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        yield agent
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def prometheus(folder: Path, port: int, *, rules: Path | None = None, alertmanager: str | None = None) -> Iterator[str]:
    """Prometheus that scrapes an agent's port every two seconds; its address."""
    program = need("prometheus", PROMETHEUS)
    document: dict[str, Any] = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "agent", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
        "rule_files": [str(rules)] if rules else [],
    }
    if alertmanager:
        targets = [{"targets": [alertmanager.removeprefix("http://")]}]
        document["alerting"] = {"alertmanagers": [{"static_configs": targets}]}
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump(document))
    own = free_port()
    argv = [
        program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{own}", "--enable-feature=exemplar-storage", "--log.level=error",
    ]  # fmt: skip
    with _running(argv, f"http://127.0.0.1:{own}/-/ready"):
        yield f"http://127.0.0.1:{own}"


@contextmanager
def alertmanager(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Alertmanager with a configuration; its address."""
    program = need("prometheus-alertmanager", ALERTMANAGER)
    path = folder / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    own = free_port()
    argv = [
        program, f"--config.file={path}", f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{own}", "--cluster.listen-address=", "--log.level=error",
    ]  # fmt: skip
    with _running(argv, f"http://127.0.0.1:{own}/-/ready"):
        yield f"http://127.0.0.1:{own}"


@contextmanager
def _running(argv: list[str], ready: str) -> Iterator[None]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(ready))
        yield
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    """True when somebody answers there, and well."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def ask(url: str, path: str, **parameters: str) -> Any:
    """The data of one request to Prometheus's API. A refusal fails the test with Prometheus's own words."""
    answer = httpx.get(f"{url}/api/v1/{path}", params=parameters, timeout=30)
    document = json.loads(answer.text)
    assert document["status"] == "success", document
    return document["data"]


def series(url: str, expr: str) -> list[dict[str, Any]]:
    """What an instant query returns."""
    found: list[dict[str, Any]] = ask(url, "query", query=expr)["result"]
    return found
