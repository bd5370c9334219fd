"""A stand-in for the server of Weights & Biases, as far as sweeps ask it: GraphQL and the stream of a run's files.

In: the points to hand out, one a heartbeat; the losses from which on a run is stopped. Out: what its client told.
Must never know: Trimtab. The client is real (wandb with its own service process); no search is planned here.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

GZIP = b"\x1f\x8b"


class FakeWandB:
    """`with FakeWandB(points) as fake:` listens on `fake.url`."""

    def __init__(self, points: Sequence[dict[str, Any]], *, stop_above: float = float("inf")) -> None:
        self.points, self.stop_above = list(points), stop_above
        self.asked: list[str] = []
        self.sweep: dict[str, Any] = {}
        self.losses: dict[str, list[float]] = {}
        self._handed = 0
        self._stopped: set[str] = set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            """Hands requests to the stand-in."""

            def do_POST(self) -> None:
                """Any question."""
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if body.startswith(GZIP):
                    body = gzip.decompress(body)
                known = self.path == "/graphql" or self.path.endswith("/file_stream")
                said = json.dumps(fake.answer(self.path, json.loads(body)) if known else {}).encode()
                self.send_response(200 if known else 404)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def do_PUT(self) -> None:
                """A file of a run: taken and forgotten."""
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the server says to a POST."""
        if path.endswith("/file_stream"):
            return self._streamed(path.split("/")[-2], body)
        query, variables = str(body.get("query")), body.get("variables") or {}
        found = next((name for name in _ANSWERS if re.search(rf"\b{name}\b", query)), "")
        self.asked.append(found or " ".join(query.split())[:300])
        return {"data": _ANSWERS[found](self, variables) if found else {}}

    def _streamed(self, run: str, body: dict[str, Any]) -> dict[str, Any]:
        """A run's history, a line a look."""
        for name, chunk in (body.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                lines = [json.loads(line) for line in chunk["content"]]
                self.losses.setdefault(run, []).extend(line["valid_loss"] for line in lines if "valid_loss" in line)
        return {"exitcode": None, "limits": {}}

    def upsert_sweep(self, given: dict[str, Any]) -> dict[str, Any]:
        """Take a sweep."""
        self.sweep = given
        project = {"id": "p", "name": "trimtab", "entity": {"id": "e", "name": "us"}}
        return {"upsertSweep": {"sweep": {"name": "sweep1", "project": project}, "configValidationWarnings": []}}

    def beat(self, given: dict[str, Any]) -> dict[str, Any]:
        """Hand out a run, or stop one that is bad; nothing while one is well."""
        running = json.loads(given["runState"])
        bad = [run for run in running if max(self.losses.get(run, [0.0])) > self.stop_above]
        commands: list[dict[str, Any]] = []
        if fresh := [run for run in bad if run not in self._stopped]:
            self._stopped.add(fresh[0])
            commands = [{"type": "stop", "run_id": fresh[0]}]
        elif not running and self._handed < len(self.points):
            args = {name: {"value": value} for name, value in self.points[self._handed].items()}
            self._handed += 1
            commands = [{"type": "run", "run_id": f"run{self._handed}", "args": args}]
        return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(commands)}}

    def upsert_bucket(self, given: dict[str, Any]) -> dict[str, Any]:
        """Take a run."""
        name = given.get("name") or "run"
        project = {"id": "p", "name": "trimtab", "entity": {"id": "e", "name": "us"}}
        return {"upsertBucket": {"inserted": True, "bucket": {
            "id": name, "name": name, "displayName": name, "project": project, "sweepName": "sweep1",
            "historyLineCount": 0, "config": "{}", "description": "",
        }}}  # fmt: skip

    def files(self, given: dict[str, Any]) -> dict[str, Any]:
        """Say where a run's files go."""
        places = [{"name": name, "uploadUrl": f"{self.url}/put/{n}"} for n, name in enumerate(given["files"])]
        return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": places}}


_ANSWERS: dict[str, Callable[[FakeWandB, dict[str, Any]], dict[str, Any]]] = {
    "upsertSweep": FakeWandB.upsert_sweep,
    "createAgent": lambda *_: {"createAgent": {"agent": {"id": "a"}}},
    "agentHeartbeat": FakeWandB.beat,
    "upsertBucket": FakeWandB.upsert_bucket,
    "createRunFiles": FakeWandB.files,
    "serverInfo": lambda *_: {"serverInfo": {"features": [], "cliVersionInfo": {"max_cli_version": "0.31.0"}}},
    "viewer": lambda *_: {
        "viewer": {"id": "v", "entity": "us", "username": "us", "flags": "{}", "teams": {"edges": []}}
    },
}
