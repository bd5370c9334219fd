"""A dashboard must show something: every query is asked of a real Prometheus that scraped a real agent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.app.freeze import freeze
from agent.store import Store
from agent.store.tables import RolloutRow
from dashboards.__main__ import DASHBOARDS
from tests.dashboards.test_dashboards import filled, queries, shown
from tests.estate import monitors, story
from tests.needs import need

RULES = Path(__file__).resolve().parents[2] / "alerts" / "trimtab.rules.yaml"
SETTINGS = {
    "quality": {"judge_model": "home-judge", "judge_kind": "rubric"},
    "drift": {"report": False},
    "policy": {"gpu_hours": 40, "judge_money": 5, "judge_price": 0.5},
}


@dataclass
class Estate:
    """What runs."""

    prometheus: str
    store: Store
    port: int


def lived(home: Path) -> None:
    """A home whose model has lived through everything that a dashboard shows."""
    store = Store.at(home)
    story.tell(store)
    end = story.at(story.ROWS)
    store.record("rollout", "rolled back: home-v0 gave other answers", end)
    store.record("unservable", "home-v0 at /a is not what was evaluated: digest 1 instead of 2", datetime.now(UTC))
    store.update_order("order-20261124-1", heartbeat_at=end)
    freeze(store, by="ann", reason="a deploy", now=end)
    store.put_rollout(
        RolloutRow(
            alias="home", champion="home-v1", challenger="home-v2", phase="shift", step=1, promoted_at=story.START,
            note="home-v2 answers 50% of users", updated_at=end,
        )
    )  # fmt: skip
    store.close()


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """An agent over that home, scraped for a while as traffic goes on."""
    need("prometheus", monitors.PROMETHEUS)
    folder = tmp_path_factory.mktemp("live")
    home = folder / "home"
    lived(home)
    with monitors.agent_running({"home": home, **SETTINGS}) as agent:
        monitors.until(lambda: b"trimtab_drift_distance{" in agent.monitors.text())
        port = agent.settings.http.port
        with monitors.prometheus(folder, port, rules=RULES) as prometheus:
            running = Estate(prometheus, agent.store, port)
            monitors.until(lambda: monitors.series(prometheus, "trimtab_capture_stored_total"))
            rows = agent.store.exchanges_after(1200, 40)
            for n, (_, exchange) in enumerate(rows):
                again = replace(exchange, id=f"new-{n}", seq=5000 + n, started_at=exchange.started_at + timedelta(1))
                agent.store.add_exchanges([again])
            monitors.until(lambda: monitors.series(prometheus, "trimtab:quality_budget_burn:3d >= 0"))
            monitors.until(lambda: monitors.series(prometheus, 'ALERTS{alertstate="firing"}'))
            time.sleep(4.0)
            yield running


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_returns_series(name: str, estate: Estate) -> None:
    """No panel, mark or variable may stay empty once there is something to show."""
    empty = [expr for expr in map(filled, queries(name)) if not monitors.series(estate.prometheus, expr)]
    assert not empty


def test_on_the_first_day_no_panel_says_no_data(tmp_path: Path) -> None:
    """Where nothing has happened yet a panel says so in its own words, or shows 0."""
    need("prometheus", monitors.PROMETHEUS)
    settings = {"home": tmp_path / "home", "alias": "home", "drift": {"report": False}}
    with (
        monitors.agent_running(settings) as agent,
        monitors.prometheus(tmp_path, agent.settings.http.port) as prometheus,
    ):
        monitors.until(lambda: len(monitors.series(prometheus, "count_over_time(trimtab_build_info[1m]) > 1")))
        silent = [
            f"{name}: {panel['title']}"
            for name in DASHBOARDS
            for panel in shown(name)
            if "noValue" not in panel["fieldConfig"]["defaults"]
            and not any(monitors.series(prometheus, filled(target["expr"])) for target in panel["targets"])
        ]
    assert not silent, "; ".join(silent)


def test_a_point_in_a_graph_leads_to_an_exchange(estate: Estate) -> None:
    """Prometheus must have kept exemplars, and each names an exchange that the store has."""
    start, end = (str(at.timestamp()) for at in (story.START, story.START + timedelta(days=2)))
    found: list[dict[str, Any]] = monitors.ask(
        estate.prometheus, "query_exemplars", query="trimtab_exchanges_total", start=start, end=end
    )
    ids = {mark["labels"]["exchange_id"] for item in found for mark in item["exemplars"]}
    assert ids
    assert all(estate.store.exchange(exchange_id) is not None for exchange_id in ids)


def test_prometheus_has_nothing_against_the_rules(estate: Estate) -> None:
    """Every rule of ours must be healthy over what a real agent exports."""
    groups = monitors.ask(estate.prometheus, "rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 25
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []


def test_a_scraper_gets_the_form_that_it_asks_for(estate: Estate) -> None:
    """OpenMetrics for who accepts it, the text format for everybody else."""
    import httpx

    url = f"http://127.0.0.1:{estate.port}/metrics"
    plain = httpx.get(url)
    rich = httpx.get(url, headers={"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert rich.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert rich.text.endswith("# EOF\n")
    assert "# EOF" not in plain.text
