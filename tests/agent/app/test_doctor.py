"""The doctor must find what is wrong, say what to do, and never blame the agent's own requests."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from agent.app.doctor import examine
from agent.app.flow import AgentSeen, EngineSeen, agent_seen, engine_seen, judge_flow
from agent.app.own import OwnRequests
from agent.settings import Settings
from agent.store import Store
from agent.store.snapshot import snapshot
from agent.types import Exchange, Grade, RemoteFault
from agent.web.api import create_app

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOKEN = "open-sesame"
TAP = "f" * 32


def metrics(requests: int, started_at: float = 1000.0) -> str:
    """vLLM's metrics text, as far as it matters."""
    return (
        "# HELP process_start_time_seconds Start time of the process.\n"
        f"process_start_time_seconds {started_at}\n"
        "# HELP vllm:request_success_total Count of successfully processed requests.\n"
        f'vllm:request_success_total{{engine="0",finished_reason="stop",model_name="base"}} {requests - 1}.0\n'
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="base"} 1.0\n'
        'vllm:e2e_request_latency_seconds_count{engine="0",model_name="base"} 999.0\n'
    )


@dataclass
class Estate:
    """An engine and an agent on one port, whose counts a test moves while the doctor waits."""

    home: Path
    requests: int | None = 10
    guarded: bool = True
    moves: bool = True
    taps: int = 1
    own: OwnRequests = field(default_factory=OwnRequests)
    started_at: datetime = NOW
    paused: bool = False
    faults: int = 0

    def __post_init__(self) -> None:
        """Open the store, with a tap that has numbered nothing."""
        self.store = Store.at(self.home)
        self.numbered(TAP, 0)

    def numbered(self, worker: str, n: int, dropped: int = 0) -> None:
        """What a tap says."""
        self.store.note_worker(worker, 1, NOW, n, dropped)

    def live(self) -> dict[str, Any]:
        """What only the agent's process knows."""
        return {
            "loops": {"watch": {"faults": self.faults, "says": "a fault"}},
            "workers": self.taps,
            "weights": None,
            "started_at": self.started_at,
            "own_requests": {"started": self.own.started, "finished": self.own.finished},
            "text_paused": self.paused,
        }

    def answer(self, method: str, path: str, token: str | None) -> tuple[int, str]:
        """What the engine, or the agent, says."""
        if path == "/health":
            return 200, ""
        if path == "/metrics":
            return (404, "") if self.requests is None else (200, metrics(self.requests))
        if path == "/v1/unload_lora_adapter":
            if self.guarded and token != TOKEN:
                return 403, ""
            return 404, json.dumps(
                {"error": {"message": "The lora adapter '-' cannot be found."}} if self.moves else {}
            )
        if path == "/v1/models":
            return 200, json.dumps({"data": [{"id": name} for name in ("base", "home-v1")]})
        app = create_app(
            self.store, "home", redact=str, render_metrics=bytes, feedback=print, live=self.live,
            reports=self.home, now=lambda: NOW,
        )  # fmt: skip

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
                return await client.request(method, path)

        said = asyncio.run(ask())
        return said.status_code, said.text


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    """A healthy estate."""
    opened = Estate(tmp_path)
    yield opened
    opened.store.close()


def doctor(
    estate: Estate,
    meanwhile: Callable[[], object] = lambda: None,
    token: str = TOKEN,
    **settings: Any,
) -> tuple[bool, str]:
    """Whether all is well, and what the doctor prints; `meanwhile` happens while it waits for the first time."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            status, said = estate.answer(self.command, self.path, self.headers.get("x-trimtab-token"))
            self.send_response(status)
            self.send_header("content-length", str(len(said.encode())))
            self.end_headers()
            self.wfile.write(said.encode())

        do_GET = do_POST = _any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    waits: Iterator[Callable[[], object]] = iter([meanwhile, lambda: None])
    try:
        tree = Settings.model_validate(
            {
                "home": estate.home,
                "engine": {"url": f"http://127.0.0.1:{server.server_port}"},
                "http": {"port": server.server_port},
                **settings,
            }
        )
        out = io.StringIO()
        well = examine(tree, token, Console(file=out, width=500), sleep=lambda _: next(waits)())
    finally:
        server.shutdown()
        server.server_close()
    return well, out.getvalue()


def test_traffic_that_the_tap_sees_is_well(estate: Estate) -> None:
    """Requests that engine and agent both count must give no complaint at all."""

    def traffic() -> None:
        estate.requests = 13
        estate.numbered(TAP, 3)

    well, said = doctor(estate, traffic)
    assert "ok   3 requests passed the engine in 5 s, the agent counted 3" in said
    assert "ok   1 tap connected" in said
    assert "ok   texts are stored" in said
    assert [line for line in said.splitlines() if line.startswith("no ")] == []
    assert well


@pytest.mark.parametrize(
    ("guarded", "taps", "remedy"),
    [
        (False, 0, "--middleware serving.middleware.Trimtab"),
        (False, 0, "VLLM_USE_RUST_FRONTEND"),
        (False, 0, "POST /v1/exchanges"),
        (True, 0, "set TRIMTAB_SOCKET="),
        (True, 0, "mount that folder"),
        (True, 1, "requests go past the tap"),
    ],
)
def test_traffic_that_passes_the_tap_by_is_found(estate: Estate, guarded: bool, taps: int, remedy: str) -> None:
    """Growth in the engine alone must be an error, with the remedy that fits what else was seen."""
    estate.guarded, estate.taps = guarded, taps
    well, said = doctor(estate, lambda: setattr(estate, "requests", 14))
    assert not well
    assert "no   4 requests passed the engine in 5 s, the agent counted none" in said
    assert remedy in said


def test_without_traffic_nothing_is_claimed(estate: Estate) -> None:
    """Silence proves nothing: the doctor must ask for a request instead of judging."""
    estate.requests = 2000
    estate.started_at = NOW
    _, said = doctor(estate)
    assert "--   no request passed the engine in 5 s" in said
    assert "send one while this command looks" in said


def test_what_passed_before_anybody_looked_is_found_too(estate: Estate) -> None:
    """An agent older than its engine that never counted anything must notice without waiting for traffic."""
    estate.started_at = datetime.fromtimestamp(999, UTC)
    well, said = doctor(estate)
    assert not well
    assert "no   10 requests passed the engine since its start, the agent counted none" in said


def test_an_engine_that_is_not_vllm_may_hand_its_exchanges_in(estate: Estate) -> None:
    """Without vLLM's metrics the doctor must name the other way in, and be content where it is used."""
    estate.requests = None
    assert "POST /v1/exchanges or /v1/traces" in doctor(estate)[1]
    estate.numbered("attach-shop", 7)
    assert "ok   7 exchanges handed in" in doctor(estate)[1]


def test_what_else_is_wrong_is_said_with_its_remedy(estate: Estate) -> None:
    """Drops, paused texts and faults of loops must each be a finding of its own."""
    estate.numbered(TAP, 0, dropped=5)
    estate.paused, estate.faults = True, 2
    well, said = doctor(estate)
    assert not well
    assert "no   5 exchanges dropped by taps" in said
    assert "no   no texts are stored for want of room" in said
    assert "300 MB free" in said
    assert "2 faults, the last: a fault" in said
    assert "no texts are stored, as capture.text says" in doctor(estate, capture={"text": "none"})[1]


@pytest.mark.parametrize(
    ("moves", "settings", "lines"),
    [
        (
            True,
            {"quality": {"judge_model": "base"}},
            ("ok   the engine loads adapters while it runs", "ok   judge base at", "--   no truth labels"),
        ),
        (
            False,
            {"quality": {"judge_model": "jury"}},
            ("--   the engine loads adapters", "there are base, home-v1: correct quality.judge_model, or set"),
        ),
        (
            False,
            {"champion": "nowhere", "quality": {"judge_model": "j", "judge_url": "http://127.0.0.1:9/v1"}},
            ("no   the engine loads adapters", "no   judge at http://127.0.0.1:9"),
        ),
    ],
)
def test_what_the_engine_and_the_judge_can_do_is_asked(
    estate: Estate, moves: bool, settings: dict[str, Any], lines: tuple[str, ...]
) -> None:
    """Whether adapters can be moved, whether the judge is there, and whether anybody labels."""
    estate.moves = moves
    well, said = doctor(estate, **settings)
    assert [line for line in lines if line not in said] == []
    assert well is not ("\nno " in said)


def test_enough_labels_are_well(estate: Estate) -> None:
    """From `quality.min_truth` of people's labels on there is an estimate."""
    estate.store.add_grades([Grade(exchange_id=str(n), source="p", score=1, truth=True, at=NOW) for n in range(10)])
    assert "ok   10 truth labels" in doctor(estate)[1]


def test_a_socket_path_that_is_too_long_is_found(estate: Estate) -> None:
    """The kernel's limit must be said before a tap fails on it."""
    long = Path("/tmp") / ("x" * 120)
    assert "the kernel allows 107: choose a shorter `home`" in doctor(estate, home=long)[1]


def test_an_agent_without_its_store_is_not_called_away(estate: Estate) -> None:
    """Who is told to start what runs already looks in the wrong place."""
    with estate.store.engine.begin() as connection:
        connection.exec_driver_sql("drop table exchange")
    fine, said = doctor(estate)
    assert not fine
    assert "it lives, but the store does not answer" in " ".join(said.split())
    assert "trimtab agent --settings" not in said


def test_a_dead_engine_and_a_missing_token_are_said(tmp_path: Path) -> None:
    """Where nobody answers, the doctor must say how to start them, and stop there."""
    out = io.StringIO()
    nowhere = Settings.model_validate({"home": tmp_path, "engine": {"url": "http://127.0.0.1:9"}, "http": {"port": 9}})
    assert not examine(nowhere, "", Console(file=out, width=500), sleep=lambda _: None)
    for part in ("set TRIMTAB_TOKEN", "trimtab serve", "trimtab agent"):
        assert part in out.getvalue()


def test_who_hands_exchanges_in_needs_no_engine(tmp_path: Path) -> None:
    """Without an adapter or a judge to be served nobody is missed; with a judge in the engine somebody is."""
    for tree, red in (({}, False), ({"quality": {"judge_model": "judge"}}, True)):
        out = io.StringIO()
        nowhere = Settings.model_validate({
            "home": str(tmp_path), "engine": {"url": "http://127.0.0.1:9"}, "http": {"port": 9}, **tree,
        })  # fmt: skip
        examine(nowhere, "", Console(file=out, width=500), sleep=lambda _: None)
        mark = next(line for line in out.getvalue().splitlines() if "engine at" in line)
        assert mark.startswith("no " if red else "-- "), out.getvalue()
        assert ("none is needed where exchanges are handed in" in out.getvalue()) is not red


def seen(counted: int = 0, own: tuple[int, int] = (0, 0), **more: Any) -> AgentSeen:
    """An agent's counts."""
    return AgentSeen(
        counted=counted,
        attached=more.get("attached", 0),
        own_started=own[0],
        own_finished=own[1],
        started_at=more.get("started_at"),
        busy=more.get("busy"),
    )


@pytest.mark.parametrize(
    ("passed", "before", "after", "good"),
    [
        (5, seen(), seen(5), True),
        (5, seen(), seen(9), True),
        (5, seen(), seen(0), False),
        (5, seen(), seen(2), None),
        (5, seen(), seen(attached=5), True),
        (5, seen(own=(3, 3)), seen(own=(8, 8)), None),  # the judge alone
        (5, seen(own=(3, 0)), seen(own=(5, 5)), None),  # three were under way when it was first looked at
        (5, seen(own=(3, 3)), seen(own=(6, 6)), False),  # two of somebody else's
        (5, seen(own=(3, 3)), seen(2, own=(6, 6)), True),
        (5, seen(busy="a job runs"), seen(), None),
        (5, seen(), seen(busy="a job runs"), None),
        (-9, seen(), seen(), None),  # the engine was started anew
        (0, seen(), seen(), None),
    ],
)
def test_only_requests_of_others_count(passed: int, before: AgentSeen, after: AgentSeen, good: bool | None) -> None:
    """What the agent or its job may have asked must never look like traffic past the tap."""
    engine = EngineSeen(100, 50.0), EngineSeen(100 + passed, 50.0)
    finding = judge_flow(engine, (before, after), 5.0, "the remedy")
    assert finding[0] is good
    assert bool(finding[2]) is not bool(good)


def test_the_engines_metrics_are_read() -> None:
    """Both counts, the fallback and the start must be found; another server's metrics must not pass for vLLM's."""
    assert engine_seen(metrics(7)) == EngineSeen(7, 1000.0)
    fallback = 'vllm:e2e_request_latency_seconds_count{a="b"} 3.0\nvllm:request_success_created{a="b"} 1.5e+09\n'
    assert engine_seen(fallback) == EngineSeen(3, 1.5e9)
    assert engine_seen("# HELP vllm:num_requests_running x\nvllm:num_requests_running 0.0\n") == EngineSeen(0, None)
    assert engine_seen("go_goroutines 7\nrequests_total 9\n").requests is None
    assert engine_seen("").requests is None


def test_taps_that_are_gone_do_not_count(tmp_path: Path) -> None:
    """A worker that was not heard of for a minute belongs to another engine."""
    store = Store.at(tmp_path)
    store.note_worker("old", 1, NOW - timedelta(hours=1), 50, 0)
    store.note_worker("new", 1, NOW, 7, 0)
    store.note_worker("attach-otlp", 1, NOW - timedelta(hours=1), 9, 0)
    status = snapshot(store, "home", NOW).to_json() | {"live": {}}
    store.close()
    assert (agent_seen(status).counted, agent_seen(status).attached) == (7, 9)


class Grudge:
    """A judge that cannot."""

    source = "judge"

    def grade(self, exchange: Exchange, now: datetime) -> Grade:
        """Fail."""
        raise RemoteFault("no")

    def close(self) -> None:
        """Nothing to close."""


def test_the_agents_own_requests_are_counted_even_when_they_fail() -> None:
    """Each call of the judge, and each probe, must count as it leaves and as it comes back."""
    own = OwnRequests()
    judge = own.judge(Grudge())
    assert judge is not None
    assert judge.source == "judge"
    with pytest.raises(RemoteFault):
        judge.grade(None, NOW)  # type: ignore[arg-type]
    judge.close()
    assert (own.started, own.finished) == (1, 1)
    assert own.judge(None) is None
    with httpx.Client(transport=own.transport(), base_url="http://127.0.0.1:9", trust_env=False) as client:
        for path in ("/v1/chat/completions", "/v1/load_lora_adapter"):
            with pytest.raises(httpx.ConnectError):
                client.post(path)
        with pytest.raises(httpx.ConnectError):
            client.get("/v1/models")
    assert (own.started, own.finished) == (2, 2)


def test_a_controller_is_not_asked_for_what_a_sidecar_needs(estate: Estate) -> None:
    """No socket, no tap, no token for adapters; what contradicts the role is said."""
    estate.guarded = False
    well, said = doctor(estate, role="controller", champion="nowhere", objects={"url": estate.home.as_uri()})
    assert not well
    wrong = [line for line in said.splitlines() if line.startswith("no ")]
    assert wrong == ["no   settings with which no agent starts"]
    assert "role controller does a part of the work" in said
    assert "ok   engines at http://127.0.0.1:" in said
    assert not [word for word in ("socket", "tap connected", "champion", "admin paths") if f"   {word}" in said]
    _, said = doctor(estate, role="sidecar", champion="nowhere")
    assert "no   champion nowhere" in said
    assert "socket" in said
