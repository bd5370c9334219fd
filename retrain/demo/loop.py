"""The demo's story, told by driving the public commands from outside.

Lives here: the stages b to h: serve, agent, reference traffic, drift, alarm, order, rollout, recovery.
Comes in: an estate and a pace. Goes out: a `Story`, from which summary and charts are made.
Must never know: the inside of the agent or of a retraining job; it reads `/v1/status` like anybody else.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from retrain.demo.estate import Estate
from retrain.demo.process import Child, Family, free_port, wait_for
from retrain.demo.settings import agent_settings
from retrain.demo.story import ALIAS, Pace, Story
from retrain.demo.timeline import Timeline, numbers
from retrain.demo.traffic import Traffic
from serving.errors import RemoteFault

TRIMTAB = (sys.executable, "-m", "agent.cli")
"""The `trimtab` command of this very environment."""


class Loop:
    """One run of the story. Use as a context manager: whatever it started ends with it."""

    def __init__(self, estate: Estate, pace: Pace, home: Path, timeline: Timeline) -> None:
        self.estate, self.pace, self.home, self.timeline = estate, pace, home, timeline
        self.family = Family()
        self.story = Story()
        self.engine_url = f"http://127.0.0.1:{free_port()}"
        self.agent_url = f"http://127.0.0.1:{free_port()}"
        self._env = {"TRIMTAB_TOKEN": secrets.token_hex(16), "TRIMTAB_SOCKET": str(home / "agent.sock")}
        self._http = httpx.Client(base_url=self.agent_url, timeout=20)
        self._told = ""
        self.traffic = Traffic(
            estate.task,
            engine_url=self.engine_url,
            agent_url=self.agent_url,
            alias=ALIAS,
            answer_tokens=estate.answer_tokens,
            feedback_share=pace.feedback_share,
            concurrency=pace.concurrency,
        )
        self.engine: Child | None = None
        self.agent: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.traffic.stop()
        self.family.end()
        self._http.close()

    def run(self) -> Story:
        """The whole story. Raises RemoteFault in one sentence where it cannot go on."""
        self.start()
        self.steady()
        self.drift()
        self.order()
        self.rollout()
        self.recover()
        self.timeline.close()
        return self.story

    # -- the stages -------------------------------------------------------------------------------

    def start(self) -> None:
        """b, c: real vLLM with the middleware, and the agent beside it."""
        self.timeline.stage("serve", f"vLLM starts on {self.engine_url}, the agent on {self.agent_url}")
        self.home.mkdir(parents=True, exist_ok=True)
        tree = agent_settings(self.estate, self.pace, self.home, self.engine_url, self.agent_url)
        (self.home / "settings.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        self.start_agent()
        self.start_engine()
        wait_for(self._agent_up, "the agent's first answer", self.family, 60)
        self.story.agent_idle_mb = round(self.agent.resident_mb, 1) if self.agent else 0.0
        wait_for(self._champion_served, "the champion in vLLM", self.family, self.pace.stage_max_s, every_s=1.0)
        self.traffic.start()

    def start_engine(self) -> None:
        """`trimtab serve`, as a user would."""
        port = self.engine_url.rpartition(":")[2]
        command = [*TRIMTAB, "serve", "--model", str(self.estate.model), "--port", port, *self.estate.serve_arguments]
        self.engine = self.family.start("vllm", command, self._env, self.home / "logs" / "vllm.log")

    def start_agent(self) -> None:
        """`trimtab agent`, as a user would."""
        command = [*TRIMTAB, "agent", "--settings", str(self.home / "settings.yaml")]
        self.agent = self.family.start("agent", command, self._env, self.home / "logs" / "agent.log")

    def steady(self) -> None:
        """d, first half: traffic like the reference."""
        self.timeline.stage("reference", "users ask for what the champion was trained on")
        self.traffic.rate_per_s = self.pace.busy_per_s
        self.wait("the reference traffic", lambda s: s["capture"]["stored"] >= self.pace.reference)
        self.settle()
        self.story.reference_quality = self.quality(f"{ALIAS}-v1")
        self.story.false_alarms = self.story.status["drift"]["alarms"]
        self.story.change_rowid = self.story.status["capture"]["stored"]

    def drift(self) -> None:
        """d, second half, and e: new features come; the agent must notice and say why."""
        self.timeline.stage("drift", "new features are asked for: timers, media, volume ...")
        self.traffic.kind = "drifted"
        self.traffic.rate_per_s = self.pace.busy_per_s
        self.wait("a drift alarm", lambda s: s["drift"]["alarms"] > self.story.false_alarms)
        self.story.first_alarm = self.story.status["alarm"]
        self.tell_alarm()
        self.timeline.stage("measure", "the judge and the labels say what the drift costs")
        self.wait("a retraining order", lambda s: bool(s["orders"]))
        self.story.drifted_quality = self.quality(f"{ALIAS}-v1")

    def order(self) -> None:
        """f: curate, train, evaluate through vLLM, gate."""
        self.timeline.stage("retrain", "an order is open: " + self.story.status["orders"][0]["reason"])
        self.traffic.rate_per_s = self.pace.calm_per_s
        self.wait("the order's end", lambda s: s["orders"][0]["status"] in ("done", "failed"), self.pace.order_max_s)
        self.story.order = order = self.story.status["orders"][0]
        if order["status"] == "failed":
            raise RemoteFault(f"the retraining order failed: {order['error']}")
        for check in order["verdict"]["checks"]:
            self.timeline.say(check["says"], "green" if check["passed"] else "red")
        if order["verdict"]["kind"] != "accepted":
            raise RemoteFault(
                f"the gate said {order['verdict']['kind']}: the champion stays, and the loop did not close"
            )

    def rollout(self) -> None:
        """g: loaded under a new name, proven, moved to by steps while traffic flows, the old one unloaded."""
        self.timeline.stage("rollout", "the challenger takes over by steps while traffic flows")
        self.traffic.rate_per_s = self.pace.busy_per_s
        self.wait("the swap", lambda s: s["rollout"]["champion"] != f"{ALIAS}-v1")
        self.wait("the old adapter's end", lambda s: s["rollout"]["phase"] == "steady")

    def recover(self) -> None:
        """h: quality with the new version."""
        champion = self.story.status["rollout"]["champion"]
        self.timeline.stage("recover", f"{champion} answers the same drifted traffic")
        target = self.traffic.sent + self.pace.recovery
        self.wait("the recovery traffic", lambda _: self.traffic.sent >= target)
        self.settle()
        self.story.recovered_quality = self.quality(champion)
        self.story.evidence = self.story.status["evidence_series"]
        self.story.quality = self.story.status["quality_series"]

    # -- waiting ----------------------------------------------------------------------------------

    def wait(self, what: str, done: Callable[[dict[str, Any]], bool], timeout_s: float | None = None) -> None:
        """Look once a second until `done(status)`; children that ended and clocks that ran out are faults."""
        until = time.monotonic() + (timeout_s or self.pace.stage_max_s)
        while not (self.look() and done(self.story.status)):
            if time.monotonic() > until:
                raise RemoteFault(f"{what} did not come in time; the logs are in {self.home / 'logs'}")
            time.sleep(1.0)

    def look(self) -> bool:
        """Fetch the status once, tell what is new; False when the agent did not answer (it may be restarting)."""
        self.family.check()
        self.family.measure()
        try:
            self.story.status = self._http.get("/v1/status").raise_for_status().json()
        except httpx.HTTPError:
            return False
        self._tell_events()
        rate = sum(1 for a in self.traffic.answered[-200:] if a.at_s + a.total_s > self.traffic.clock_s - 10) / 10
        self.timeline.beat(numbers(self.story.status, self.traffic.sent, self.traffic.failed, rate))
        return True

    def settle(self) -> None:
        """Stop sending, and wait until everything that was sent is stored, judged and labelled."""
        self.traffic.rate_per_s = 0.0
        self.wait("the end of what is in flight", lambda _: len(self.traffic.answered) == self.traffic.sent)
        self.wait("capture of what was sent", self._captured)
        self.wait("the labels", lambda _: self.traffic.labels_pending == 0)
        self._rest()

    def _captured(self, status: dict[str, Any]) -> bool:
        """Whether every answered request is accounted for: stored, or known to be lost."""
        capture = status["capture"]
        return bool(capture["stored"] + capture["lost"] >= self.traffic.sent - self.traffic.failed)

    def _rest(self) -> None:
        """Until the judge has nothing left to grade, for at most half a minute."""
        last, since = -1, time.monotonic()
        while time.monotonic() - since < 30:
            self.look()
            judged = sum(g["n"] for g in self.story.status["grades"] if not g["truth"])
            if judged == last:
                return
            last = judged
            time.sleep(2.5)

    def quality(self, version: str) -> dict[str, Any] | None:
        """The newest estimate of a version."""
        return next((e for e in self.story.status["estimates"] if e["version"] == version), None)

    def tell_alarm(self) -> None:
        """What the agent says of its alarm: the reason and the most typical new texts."""
        seen = self.story.first_alarm or {}
        self.timeline.say(seen["alarm"]["reason"], "bold red")
        for feature, evidence, shift in seen["alarm"]["features"][:3]:
            self.timeline.say(f"{feature}: evidence 10^{evidence:.1f}, moved {shift:+.1f} standard deviations")
        for example in seen["examples"][:3]:
            self.timeline.say(f"e.g. {example['prompt']!r} -> {example['answer']!r}", "italic")

    def _tell_events(self) -> None:
        events = [e for e in reversed(self.story.status["events"]) if e["at"] > self._told]
        for event in events:
            if event["kind"] != "alarm":
                self.timeline.say(event["text"])
        if events:
            self._told = events[-1]["at"]

    def _agent_up(self) -> bool:
        try:
            return self._http.get("/healthz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _champion_served(self) -> bool:
        if not self.look():
            return False
        try:
            token = {"x-trimtab-token": self._env["TRIMTAB_TOKEN"]}  # strangers see aliases, not versions
            served = httpx.get(f"{self.engine_url}/v1/models", headers=token, timeout=5).json()["data"]
        except (httpx.HTTPError, ValueError, KeyError):
            return False
        return f"{ALIAS}-v1" in {model["id"] for model in served}
