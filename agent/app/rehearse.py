"""Would a retraining order of these settings be taken? A wrong recipe shows here, not at the first order.

Lives here: one finding for `trimtab doctor`: the order that the settings would make, given to `trimtab retrain check`.
Comes in: settings. Goes out: a finding. Must never know: what an order may say; a process that knows is asked.
"""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime

from agent.app.flow import Finding
from agent.app.orders import RETRAIN
from agent.policy.order import order_document
from agent.settings import Settings
from agent.store.artifacts import verify
from agent.types import Action, AdapterVersion, Decision, InvalidInput, Unservable

ASKED_S = 120.0
PROGRAM, FILE = "trimtab retrain: ", "order file /dev/stdin: "


def order_finding(settings: Settings) -> Finding:
    """Whether an order would be taken; files are looked at where orders are worked off on this machine."""
    what = "a retraining order of these settings"
    words = () if settings.retrain.launcher == "local" else ("--words",)
    try:
        asked = subprocess.run(
            [*RETRAIN, "check", "/dev/stdin", *words], input=json.dumps(_order(settings)), capture_output=True,
            text=True, timeout=ASKED_S, check=False,
        )  # fmt: skip
    except InvalidInput as error:
        return False, what, str(error)
    except subprocess.TimeoutExpired:
        return None, what, f"`trimtab retrain check` gave no answer within {ASKED_S:.0f} s, so this was not checked"
    said = (asked.stderr.strip().splitlines() or ["no word"])[-1]
    if asked.returncode == 1:
        return None, what, f"not checked here: {said}; where orders are worked off: pip install 'trimtab[retrain]'"
    return asked.returncode == 0, what, "it would be refused: " + said.removeprefix(PROGRAM).removeprefix(FILE)


def _order(settings: Settings) -> dict[str, object]:
    """The order over no exchanges; with the champion of the settings where its folder can be read."""
    now = datetime.now(UTC)
    name, path, digest = settings.first_version, str(settings.champion or settings.home), ""
    try:
        digest = "" if settings.champion is None else verify(settings.champion)
    except Unservable:  # which has a finding of its own
        digest = ""
    champion = AdapterVersion(
        name=name, alias=settings.alias, path=path, digest=digest, base_digest="", parent=None, status="live",
        created_at=now,
    )  # fmt: skip
    document = order_document(
        Decision(at=now, alias=settings.alias, action=Action.RETRAIN, reasons=("a rehearsal",)), settings,
        alias=settings.alias, order_id="rehearsal", store_url="sqlite://", champion=champion,
        challenger=f"{name}-next", since_rowid=0, until_rowid=0,
    )  # fmt: skip
    return document if digest else document | {"champion": None}
