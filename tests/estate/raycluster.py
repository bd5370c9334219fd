"""A small fake of Ray's Jobs REST API, after what Ray 2.60 really answers; it really runs the entrypoints.

In: requests as of `agent.launch.ray`. Out: Ray's answers. Must never know: what the jobs do.
Not here: resources, runtime environments, a job that waits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RayCluster:
    """The head of a cluster, on a port of its own."""

    def __init__(self) -> None:
        self._jobs: dict[str, dict[str, Any]] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """End the server and every job."""
        self._server.shutdown()
        self._server.server_close()
        self.lose_all()

    def lose_all(self) -> None:
        """A head that was started anew: it knows no job."""
        for name in list(self._children):
            self._kill(name)
        self._jobs.clear()

    def submit(self, body: dict[str, Any]) -> tuple[int, Any]:
        """POST /api/jobs/: a submission id is taken once."""
        name = body["submission_id"]
        if name in self._jobs:
            return 500, f"Traceback\nValueError: Job with submission_id {name} already exists."
        self._children[name] = subprocess.Popen(
            ["/bin/sh", "-c", body["entrypoint"]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self._jobs[name] = {
            "type": "SUBMISSION", "submission_id": name, "status": "RUNNING", "message": "Job is currently running.",
            "metadata": body.get("metadata"), "driver_exit_code": None,
        }  # fmt: skip
        return 200, {"job_id": name, "submission_id": name}

    def all(self) -> list[dict[str, Any]]:
        """GET /api/jobs/."""
        for name, child in list(self._children.items()):
            code = child.poll()
            if code is None:
                continue
            said = child.stdout.read().decode() if child.stdout else ""
            self._kill(name)
            self._jobs[name] |= {
                "status": "FAILED" if code else "SUCCEEDED", "driver_exit_code": code,
                "message": f"Job entrypoint command failed with exit code {code}, last available logs:\n{said}",
            }  # fmt: skip
        return list(self._jobs.values())

    def stop(self, name: str) -> tuple[int, Any]:
        """POST /api/jobs/NAME/stop."""
        if name not in self._jobs:
            return 404, f"Job {name} does not exist"
        self._kill(name)
        self._jobs[name] |= {"status": "STOPPED", "message": "Job was intentionally stopped."}
        return 200, {"stopped": True}

    def _kill(self, name: str) -> None:
        child = self._children.pop(name, None)
        if child is not None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


def _handler(cluster: RayCluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            jobs, name = cluster.all(), self.path.removeprefix("/api/jobs/")
            if not name:
                self._send(200, jobs)
                return
            found = next((job for job in jobs if job["submission_id"] == name), None)
            self._send(404 if found is None else 200, found or f"Job {name} does not exist")

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path.endswith("/stop"):
                self._send(*cluster.stop(self.path.split("/")[3]))
            else:
                self._send(*cluster.submit(json.loads(raw)))

        def _send(self, code: int, body: Any) -> None:
            raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
