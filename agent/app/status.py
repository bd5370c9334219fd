"""`trimtab status`: the agent's own account of itself, for a terminal.

Lives here: asking the agent and laying out what it says.
Comes in: settings or an address. Goes out: a few tables, or the JSON as it came.
Must never know: the store; it asks the running agent like anybody else.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.app.address import address_of
from agent.settings import Settings
from agent.types import RemoteFault


def unable(answer: httpx.Response) -> str:
    """Why an agent that answers can say nothing, in its own words."""
    try:
        said = dict(answer.json())
    except ValueError:
        return "it answers 503"
    return str(said["error"]) if "error" in said else f"it is {said.get('status', 'not ready')}"


def show(settings: Settings, url: str | None, *, as_json: bool, console: Console) -> None:
    """Print the status. Raises RemoteFault in one sentence when no agent answers."""
    address = (url or address_of(settings)).rstrip("/")
    try:
        answer = httpx.get(f"{address}/v1/status", timeout=10)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise RemoteFault(f"the agent at {address} lives, but {unable(answer)}: see `trimtab doctor`")
        status = answer.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        why = (str(error).splitlines() or ["no answer"])[0]
        msg = f"no agent answers at {address} ({why}): start it with `trimtab agent`, or give --url"
        raise RemoteFault(msg) from error
    if as_json:
        console.print_json(json.dumps(status))
        return
    console.print(_headline(status))
    console.print(_versions(status))
    for name, health in status["live"]["loops"].items():
        if health["faults"]:
            console.print(f"[red]loop {name}: {health['faults']} faults, the last: {escape(health['says'])}[/]")
    for event in status["events"][:8]:
        console.print(f"[dim]{event['at'][11:19]}[/] {escape(event['text'])}", highlight=False)


def _headline(status: dict[str, Any]) -> Table:
    shown = Table.grid(padding=(0, 2))
    rollout, drift, capture, decision = (status[k] for k in ("rollout", "drift", "capture", "decision"))
    champion = rollout["champion"] if rollout else "observe only: no champion named"
    shown.add_row("[bold]answers[/]", f"{status['alias']} -> {_weights(rollout) or champion}")
    shown.add_row(
        "[bold]capture[/]", f"{capture['stored']} stored, {capture['lost']} lost, {capture['dropped']} dropped"
    )
    live = status["live"]
    if live.get("pod"):
        offices = f"{live['leader'] or 'nobody'} leads, {live['mover'] or 'nobody'} moves versions"
        shown.add_row("[bold]process[/]", escape(f"{live['pod']}, role {live['role']}; {offices}"))
    shown.add_row("[bold]drift[/]", _drift(drift))
    for note in drift["notes"]:
        shown.add_row("", escape(note))
    if status["alarm"]:
        shown.add_row("", escape(status["alarm"]["alarm"]["reason"]))
        if status["alarm"]["settled"]:
            shown.add_row("", escape(status["alarm"]["settled"]))
    if decision:
        since = f"since {decision['at'][:16].replace('T', ' ')} UTC"
        shown.add_row("[bold]decision[/]", f"{decision['action']} {since}: {escape(decision['reasons'][0])}")
        for reason in decision["reasons"][1:]:
            shown.add_row("", escape(reason))
    for order in status["orders"][:1]:
        stage = f" ({order['stage']} {order['progress']:.0%})" if order["status"] == "running" else ""
        shown.add_row("[bold]order[/]", f"{order['id']}: {order['status']}{stage} {escape(order['error'] or '')}")
    return shown


def _drift(drift: dict[str, Any]) -> str:
    if drift["evidence"] is None:
        return str(drift["phase"])
    alarms = drift["alarms"]
    return f"{drift['phase']}, evidence 10^{drift['evidence']:.1f} of 10^{drift['threshold']:.1f}, {alarms} alarms"


def _weights(rollout: dict[str, Any] | None) -> str:
    weights = (rollout or {}).get("weights") or {}
    return ", ".join(f"{name} {share:.0%}" for name, share in weights.items())


def _versions(status: dict[str, Any]) -> Table:
    shown = Table(header_style="bold")
    for column in ("version", "status", "digest", "exchanges", "quality"):
        shown.add_column(column)
    answered: dict[str, int] = {}
    for tally in status["exchanges"]:
        answered[tally["version"]] = answered.get(tally["version"], 0) + tally["n"]
    quality = {e["version"]: f"{e['value']:.2f} [{e['low']:.2f}, {e['high']:.2f}]" for e in status["estimates"]}
    for adapter in status["adapters"]:
        name = adapter["name"]
        shown.add_row(
            name, adapter["status"], adapter["digest"][:12], str(answered.get(name, 0)), escape(quality.get(name, "-"))
        )
    return shown
