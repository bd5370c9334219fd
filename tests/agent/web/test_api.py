"""The HTTP must answer truthfully, refuse clearly and give nothing away."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent.store import Store
from agent.types import InvalidInput, RemoteFault
from agent.web import api
from agent.web.api import create_app
from tests.estate import story

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI


@dataclass
class Desk:
    """Stands in for the rooms that the application is handed."""

    heard: list[dict[str, object]] = field(default_factory=list)
    fault: Exception | None = None

    def feedback(self, **said: object) -> None:
        """Keep what was said, or fail as told."""
        if self.fault is not None:
            raise self.fault
        self.heard.append(said)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that has lived one turn of the loop."""
    opened = Store.at(tmp_path)
    story.tell(opened)
    yield opened
    opened.close()


@pytest.fixture
def desk() -> Desk:
    """A fresh desk."""
    return Desk()


@pytest.fixture
def app(store: Store, desk: Desk, tmp_path: Path) -> FastAPI:
    """The application over that store, two seconds after the story."""
    (tmp_path / "reports").mkdir()
    return create_app(
        store,
        "home",
        redact=lambda text: text.replace("Ann", "[REDACTED]"),
        render_metrics=lambda: b"trimtab_x 1\n",
        feedback=desk.feedback,
        live=lambda: {
            "engine": "answers",
            "weights": {"home-v1": 0.25, "home-v2": 0.75},
            "loops": {"watch": {"lag_s": float("inf"), "at": story.START}},
        },
        reports=tmp_path / "reports",
        shared={"alarm-2.html": b"<h1>theirs</h1>", "../x.html": b"secret"}.get,
        now=lambda: story.at(story.ROWS) + timedelta(seconds=2),
    )


def call(app: FastAPI, method: str, path: str, **more: Any) -> httpx.Response:
    """One request to the application."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **more)

    return asyncio.run(go())


GOOD = {"exchange_id": "chatcmpl-10", "correct": True, "source": "recogniser"}


def test_the_page_shows_where_things_stand(app: FastAPI) -> None:
    """A person must find state, numbers, reasons and record on the page, each text as text."""
    answer = call(app, "GET", "/")
    assert answer.status_code == 200
    html = answer.text
    for part in ("home-v2 answers 75% of users", "Retrain", "novelty", "c90e11ab5d22", "order-20261124-1"):
        assert part in html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "/reports/alarm-1.html" in html


def test_the_page_needs_nothing_from_outside(app: FastAPI) -> None:
    """It must open on a machine without a network, and run no script but its own."""
    answer = call(app, "GET", "/")
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")


def test_health_and_metrics_answer(app: FastAPI) -> None:
    """Probes and Prometheus must find their paths."""
    assert call(app, "GET", "/healthz").json() == {"status": "ok"}
    metrics = call(app, "GET", "/metrics")
    assert metrics.content == b"trimtab_x 1\n"
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_the_status_is_the_snapshot_and_what_the_process_adds(app: FastAPI) -> None:
    """`trimtab status` must get all of it as JSON."""
    status = call(app, "GET", "/v1/status").json()
    assert status["alias"] == "home"
    assert status["drift"]["phase"] == "watching"
    assert status["rollout"]["weights"] == {"home-v1": 0.25, "home-v2": 0.75}
    assert status["live"]["engine"] == "answers"
    assert status["live"]["loops"]["watch"] == {"lag_s": None, "at": story.START.isoformat()}
    assert status["orders"][0]["verdict"]["kind"] == "accepted"


def test_feedback_reaches_the_one_who_keeps_it(app: FastAPI, desk: Desk) -> None:
    """What was said must arrive whole, its correction redacted."""
    answer = call(app, "POST", "/v1/feedback", json=GOOD | {"correction": "call Ann"})
    assert (answer.status_code, answer.json()) == (200, {"stored": True})
    kept = {"exchange_id": "chatcmpl-10", "correct": True, "correction": "call [REDACTED]"}
    assert desk.heard == [kept | {"source": "recogniser"}]


def test_feedback_on_an_unknown_exchange_is_a_404(app: FastAPI, desk: Desk) -> None:
    """Feedback on nothing must not be kept, and the sentence says what to send."""
    answer = call(app, "POST", "/v1/feedback", json=GOOD | {"exchange_id": "nope"})
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("no exchange 'nope' is stored")
    assert desk.heard == []


@pytest.mark.parametrize(
    ("source", "says"),
    [("ada@example.com", "source: "), ("Ann", "source looks private"), ("", "source: "), ("x" * 61, "source: ")],
)
def test_a_source_is_no_person(app: FastAPI, desk: Desk, source: str, says: str) -> None:
    """It becomes a label of metrics, so it must not be an address, a listed name, or long."""
    answer = call(app, "POST", "/v1/feedback", json=GOOD | {"source": source})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(says)
    assert desk.heard == []


def test_feedback_finds_an_id_that_is_stored_in_another_form(app: FastAPI, desk: Desk) -> None:
    """White space around an id, which shells leave, is not in its way."""
    assert call(app, "POST", "/v1/feedback", json=GOOD | {"exchange_id": " chatcmpl-10 "}).status_code == 200
    assert [said["exchange_id"] for said in desk.heard] == ["chatcmpl-10"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/v1/feedback", 405)])
def test_even_the_framework_refuses_in_a_sentence(app: FastAPI, method: str, path: str, status: int) -> None:
    """A path that is not there, and a method that it does not take, are told what to do instead."""
    answer = call(app, method, path)
    assert answer.status_code == status
    assert len(answer.json()["error"].split()) > 5


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "the body is not JSON"),
        (b"[]", "send a JSON object"),
        (b"", "send a JSON object"),
        (b'{"exchange_id": "chatcmpl-10"}', "correct is missing"),
        (b'{"exchange_id": "chatcmpl-10", "correct": "perhaps"}', "correct: input should be a valid boolean"),
        (b'{"exchange_id": "", "correct": true}', "exchange_id: string should have at least 1"),
        (b'{"exchange_id": "chatcmpl-10", "correct": true, "colour": 1}', "unknown key 'colour'; known keys are"),
        (b'{"exchange_id": "chatcmpl-10", "correct": true, "source": "\\ud800"}', ""),
    ],
)
def test_malformed_feedback_gets_one_sentence(app: FastAPI, desk: Desk, body: bytes, says: str) -> None:
    """The caller must learn what to write instead, in one line."""
    answer = call(app, "POST", "/v1/feedback", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"].startswith(says)
    assert "\n" not in answer.json()["error"]
    assert desk.heard == []


@pytest.mark.parametrize(("fault", "status"), [(InvalidInput("say why"), 422), (RemoteFault("say why"), 503)])
def test_a_fault_of_a_room_is_told_as_whose_it_is(app: FastAPI, desk: Desk, fault: Exception, status: int) -> None:
    """The caller's fault is 422, ours is 503; both in one sentence."""
    desk.fault = fault
    answer = call(app, "POST", "/v1/feedback", json=GOOD)
    assert (answer.status_code, answer.json()) == (status, {"error": "say why"})


def test_a_report_is_served_alone(app: FastAPI, tmp_path: Path) -> None:
    """A report runs its own scripts, but without this origin and without a network."""
    (tmp_path / "reports" / "alarm-1.html").write_text("<h1>report</h1>")
    answer = call(app, "GET", "/reports/alarm-1.html")
    assert answer.text == "<h1>report</h1>"
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    theirs = call(app, "GET", "/reports/alarm-2.html")  # made by another process
    assert theirs.text == "<h1>theirs</h1>"
    assert theirs.headers["content-security-policy"] == answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name",
    [
        "../x.html",
        "../trimtab.db",
        "..%2Ftrimtab.db",
        "%2e%2e/trimtab.db",
        "x.txt",
        ".html",
        "missing.html",
        "link.html",
    ],
)
def test_nothing_but_reports_can_be_fetched(app: FastAPI, tmp_path: Path, name: str) -> None:
    """No path may lead out of the folder of reports."""
    (tmp_path / "reports" / "x.txt").write_text("secret")
    (tmp_path / "reports" / "link.html").symlink_to(tmp_path / "trimtab.db")
    answer = call(app, "GET", f"/reports/{name}")
    assert answer.status_code == 404
    assert "error" in answer.json()


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/nothing"])
def test_no_path_gives_away_more_than_it_must(app: FastAPI, path: str) -> None:
    """There is no generated documentation to probe."""
    answer = call(app, "GET", path)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("there is no such path")


def test_a_store_that_does_not_answer_is_a_503(app: FastAPI, store: Store) -> None:
    """A probe must see that the database is gone."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql("drop table exchange")
    answer = call(app, "GET", "/healthz")
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("the store does not answer")


def test_a_process_lives_without_its_store(app: FastAPI, store: Store) -> None:
    """What holds the exchanges meanwhile must not be restarted for the database's fault."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql("drop table exchange")
    assert call(app, "GET", "/livez").json() == {"status": "ok"}


def test_the_status_is_strict_json_even_with_infinite_evidence(app: FastAPI, store: Store) -> None:
    """A detector may say minus infinity; JSON has no word for it."""
    from agent.store import convert

    rows = convert.detector_rows(
        exchange_rowid=story.ROWS,
        window_id="live",
        version="home-v1",
        at=story.at(story.ROWS),
        reference_rows=300,
        reference_wanted=300,
        evidence=float("-inf"),
        threshold=4.7,
    )
    with store.transaction() as session:
        session.add_all(rows)
    status = call(app, "GET", "/v1/status")
    assert json.loads(status.text)["drift"]["evidence"] is None
    assert call(app, "GET", "/").status_code == 200


def test_an_empty_store_has_a_page(tmp_path: Path, desk: Desk) -> None:
    """The first look comes before the first exchange."""
    store = Store.at(tmp_path / "new")
    app = create_app(
        store,
        "home",
        redact=str,
        render_metrics=lambda: b"",
        feedback=desk.feedback,
        live=dict,
        reports=tmp_path,
    )
    assert "Waiting for traffic" in call(app, "GET", "/").text
    store.close()


def test_sources_of_feedback_are_few(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new name with every label makes no endless list: known ones go on, others are told to use those."""
    stored = {given["source"] for given in call(app, "GET", "/v1/status").json()["grades"] if given["truth"]}
    monkeypatch.setattr(api, "MAX_SOURCES", len(stored) + 1)
    names = ["support", "robot-1", "support"]
    answers = [call(app, "POST", "/v1/feedback", json=GOOD | {"source": name}) for name in names]
    assert [answer.status_code for answer in answers] == [200, 422, 200]
    assert "use one of them" in answers[1].json()["error"]
