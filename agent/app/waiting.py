"""Starting while the database is away: try again, and answer meanwhile that the process lives.

Lives here: the wait before anything is built.
Comes in: how to build, where to listen. Goes out: what was built.
Must never know: what is built. Exchanges wait in the taps meanwhile, which bound and count what they hold.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from threading import Thread
from typing import TypeVar

from agent.export.table import METRICS
from agent.types import RemoteFault

Built = TypeVar("Built")
RETRY_S = 5.0
ALIVE = "/livez"
ANSWERS = next(metric for metric in METRICS if metric.name == "trimtab_store_answers")
AWAY = f"# HELP {ANSWERS.name} {ANSWERS.help}\n# TYPE {ANSWERS.name} {ANSWERS.kind}\n{ANSWERS.name} 0\n"
"""What monitors are told: that the database is away is no reason to hear nothing."""

log = logging.getLogger("trimtab")


def patiently(
    build: Callable[[], Built], host: str, port: int, *, sleep: Callable[[float], object] = time.sleep
) -> Built:
    """What `build` makes, as soon as nothing it needs is away (RemoteFault). Other faults are raised."""
    try:
        return build()
    except RemoteFault as fault:
        log.warning("%s; tried again every %.0f s, taps keep exchanges meanwhile and count the rest", fault, RETRY_S)
    with _answering(host, port):
        while True:
            sleep(RETRY_S)
            try:
                return build()
            except RemoteFault as fault:
                log.info("still waiting: %s", fault)


class _Waiting(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the name is the standard library's
        scraped = self.path == "/metrics"
        body = AWAY.encode() if scraped else json.dumps({"status": "waiting for the database"}).encode()
        self.send_response(200 if scraped or self.path == ALIVE else 503)
        self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8" if scraped else "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after", f"{RETRY_S:.0f}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: probes come every few seconds."""


class _Server6(ThreadingHTTPServer):
    address_family = AF_INET6


@contextmanager
def _answering(host: str, port: int) -> Iterator[None]:
    kind = _Server6 if ":" in host else ThreadingHTTPServer
    with kind((host, port), _Waiting) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="waiting", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
