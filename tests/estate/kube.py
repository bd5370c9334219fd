"""A small, honest fake of the Kubernetes API over real HTTP: Jobs, Leases and Pods of any namespace.

Honest: resource versions from one counter, 409 on a name that is taken and on a stale write, uid, label selectors,
watches from a version with 410 for one that was forgotten, bodies held strictly against Kubernetes' own schemas.
Its job controller really runs a Job's container command as a process of this machine, when `turn` is called, with
backoffLimit and podFailurePolicy. Not here: scheduling, quotas, deadlines, TTL, authorisation beyond `refuse`.

In: requests of the official client or kubectl. Out: what an API server would say. Must never know: who asks.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

KUBERNETES = "1.37"
WATCH_S = 0.1
"""After which a watch is ended: a server may end one earlier than asked, and tests need not wait."""
KINDS = {"jobs": ("batch/v1", "Job"), "leases": ("coordination.k8s.io/v1", "Lease"), "pods": ("v1", "Pod")}
_PATH = re.compile(
    r"^(?:/apis/(?P<group>[^/]+/[^/]+)|/api/(?P<core>v1))/namespaces/(?P<ns>[^/]+)/(?P<kind>\w+)"
    r"(?:/(?P<name>[^/]+))?(?P<status>/status)?$"
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")

_STATUS = {"kind": "Status", "apiVersion": "v1"}

Key = tuple[str, str, str]


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.body = _STATUS | {"status": "Failure", "reason": reason, "message": message, "code": code}


class Kube:
    """An API server with a job controller, on a port of its own."""

    def __init__(self) -> None:
        self._objects: dict[Key, dict[str, Any]] = {}
        self._version, self._forgotten = 0, 0
        self._events: list[tuple[int, str, Key, dict[str, Any]]] = []
        self._news = threading.Condition(threading.RLock())
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.refuse: int | None = None
        """A status with which every request is answered, while it is set."""
        server = self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kube": self}))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the server and every container."""
        self._server.shutdown()
        self._server.server_close()
        for child in self._processes.values():
            _end(child)

    def kubeconfig(self, path: Path) -> Path:
        """Write the file that clients find it by."""
        named: dict[str, Any] = {
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "of-no-worth"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "default"}}],
        }  # fmt: skip
        path.write_text(yaml.safe_dump(named))
        return path

    # -- the API ----------------------------------------------------------------------------------

    def create(self, kind: str, ns: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST: 409 when the name is taken, 422 for a body that the schema does not know."""
        _check(kind, body)
        name = body["metadata"].get("name", "")
        with self._news:
            if (kind, ns, name) in self._objects:
                raise Refusal(409, "AlreadyExists", f'{kind} "{name}" already exists')
            made = json.loads(json.dumps(body))
            made["metadata"] |= {
                "namespace": ns, "uid": str(uuid.uuid4()), "creationTimestamp": _now(), "generation": 1
            }  # fmt: skip
            return self._put("ADDED", (kind, ns, name), made)

    def replace(self, key: Key, body: dict[str, Any], *, status: bool) -> dict[str, Any]:
        """PUT: 409 when it was made from another version than the one that is there."""
        _check(key[0], body)
        with self._news:
            there = self.get(key)
            version = body["metadata"].get("resourceVersion")
            if version is not None and version != there["metadata"]["resourceVersion"]:
                message = f'Operation cannot be fulfilled on {key[0]} "{key[2]}": the object has been modified'
                raise Refusal(409, "Conflict", message)
            new = json.loads(json.dumps(body))
            kept = {part: there["metadata"][part] for part in ("uid", "creationTimestamp", "namespace")}
            new = {**there, "status": new.get("status", {})} if status else {**new, "status": there.get("status", {})}
            new["metadata"] = {**new["metadata"], **kept}
            return self._put("MODIFIED", key, new)

    def get(self, key: Key) -> dict[str, Any]:
        """GET of one: 404 when it is not there."""
        with self._news:
            if key not in self._objects:
                raise Refusal(404, "NotFound", f'{key[0]} "{key[2]}" not found')
            return self._objects[key]

    def delete(self, key: Key) -> dict[str, Any]:
        """DELETE: gone at once, and its container is killed."""
        with self._news:
            gone = self._put("DELETED", key, self.get(key))
            del self._objects[key]
            if key[0] == "jobs":
                for pod in [k for k in self._objects if k[0] == "pods" and _of(self._objects[k]) == key[2]]:
                    self.delete(pod)
            if key[2] in self._processes:
                _end(self._processes.pop(key[2]))
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Success",
            "details": {"name": gone["metadata"]["name"]},
        }

    def list(self, kind: str, ns: str, selector: str) -> dict[str, Any]:
        """GET of many, with the version that a watch goes on from."""
        with self._news:
            found = [o for (k, n, _), o in self._objects.items() if (k, n) == (kind, ns) and _selected(o, selector)]
            api, name = KINDS[kind]
            return {
                "apiVersion": api, "kind": f"{name}List", "metadata": {"resourceVersion": str(self._version)},
                "items": found,
            }  # fmt: skip

    def watch(self, kind: str, ns: str, selector: str, after: int, seconds: float) -> Any:
        """Yield events after a version, until the time is over; 410 when they are not known any more."""
        deadline = time.monotonic() + seconds
        with self._news:
            if after < self._forgotten:
                raise Refusal(410, "Expired", f"too old resource version: {after} ({self._version})")
        while True:
            with self._news:
                news = [e for e in self._events if e[0] > after]
                if not news and not self._news.wait(max(0.0, deadline - time.monotonic())):
                    return
            for version, what, key, there in news:
                after = version
                if key[:2] == (kind, ns) and _selected(there, selector):
                    yield {"type": what, "object": there}
            if time.monotonic() >= deadline:
                return

    def forget_history(self) -> None:
        """Answer watches from any version of before by 410, as a server does after some minutes."""
        with self._news:
            self._put("MODIFIED", ("leases", "kube-system", "tick"), {"metadata": {"name": "tick"}})
            self._forgotten = self._version

    def _put(self, what: str, key: Key, new: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self._version)}}
        self._objects[key] = new
        self._events.append((self._version, what, key, new))
        self._news.notify_all()
        return new

    # -- the job controller -----------------------------------------------------------------------

    def turn(self) -> None:
        """Start what is to run, and write down what has ended."""
        with self._news:
            for key in [key for key in self._objects if key[0] == "jobs"]:
                job = self._objects[key]
                if not any(c["type"] in ("Complete", "Failed") for c in job.get("status", {}).get("conditions", ())):
                    self._step(key, job)

    def pods(self) -> int:
        """How many pods there are: each began once."""
        return sum(key[0] == "pods" for key in self._objects)

    def _step(self, key: Key, job: dict[str, Any]) -> None:
        child = self._processes.get(key[2])
        if child is None:
            self._begin(key, job)
            return
        code = child.poll()
        if code is None:
            return
        said = child.stdout.read().decode() if child.stdout else ""
        _end(self._processes.pop(key[2]))
        self._ended(key, job, code, said)

    def _begin(self, key: Key, job: dict[str, Any]) -> None:
        container = job["spec"]["template"]["spec"]["containers"][0]
        self._processes[key[2]] = subprocess.Popen(
            container["command"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        status = job.get("status", {})
        name = f"{key[2]}-{status.get('failed', 0)}"
        labels = {"batch.kubernetes.io/job-name": key[2]}
        pod = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": container["name"], "image": container["image"]}]},
        }  # fmt: skip
        self.create("pods", key[1], pod)
        self._put("MODIFIED", key, {**job, "status": {**status, "active": 1, "startTime": _now()}})

    def _ended(self, key: Key, job: dict[str, Any], code: int, said: str) -> None:
        status = dict(job["status"])
        code = 128 - code if code < 0 else code
        pod = ("pods", key[1], f"{key[2]}-{status.get('failed', 0)}")
        name = job["spec"]["template"]["spec"]["containers"][0]["name"]
        over = {"exitCode": code, "finishedAt": _now(), "message": said[-2048:] if code else ""}
        seen = {
            "name": name, "state": {"terminated": over}, "image": "i", "imageID": "i", "ready": False, "restartCount": 0
        }  # fmt: skip
        self._put("MODIFIED", pod, {**self._objects[pod], "status": {"containerStatuses": [seen]}})
        status.pop("active", None)
        if code == 0:
            status |= {"succeeded": 1, "conditions": [_condition("Complete", "CompletionsReached", "")]}
        else:
            status["failed"] = status.get("failed", 0) + 1
            rules = job["spec"].get("podFailurePolicy", {}).get("rules", ())
            if any(r["action"] == "FailJob" and code in r.get("onExitCodes", {}).get("values", ()) for r in rules):
                status["conditions"] = [_condition("Failed", "PodFailurePolicy", f"exit code {code}")]
            elif status["failed"] > job["spec"].get("backoffLimit", 6):
                status["conditions"] = [_condition("Failed", "BackoffLimitExceeded", "it failed too often")]
        self._put("MODIFIED", key, {**job, "status": status})


def _check(kind: str, body: dict[str, Any]) -> None:
    api, name = KINDS[kind]
    if (body.get("apiVersion"), body.get("kind")) != (api, name):
        raise Refusal(400, "BadRequest", f"{body.get('apiVersion')} {body.get('kind')} is no {api} {name}")
    if not _NAME.fullmatch(body.get("metadata", {}).get("name", "")) or len(body["metadata"]["name"]) > 63:
        raise Refusal(422, "Invalid", "metadata.name: Invalid value: it is no DNS label")
    try:
        kubernetes_validate.validate(body, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise Refusal(422, "Invalid", str(error.message)) from error


def _selected(there: dict[str, Any], selector: str) -> bool:
    labels = there["metadata"].get("labels") or {}
    return all(labels.get(part.partition("=")[0]) == part.partition("=")[2] for part in selector.split(",") if part)


def _of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"])


def _condition(kind: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": _now()}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


class _Handler(BaseHTTPRequestHandler):
    kube: Kube
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        found = self._parsed(url.path)
        if found is None:
            return
        kind, ns, name, _ = found
        selector = query.get("labelSelector", "")
        if name:
            self._answered(lambda: self.kube.get((kind, ns, name)))
        elif query.get("watch") in ("true", "True", "1"):
            self._stream(kind, ns, selector, query)
        else:
            self._answered(lambda: self.kube.list(kind, ns, selector))

    def do_POST(self) -> None:
        body = self._body()
        found = self._parsed(urlsplit(self.path).path)
        if found is not None:
            self._answered(lambda: self.kube.create(found[0], found[1], body), 201)

    def do_PUT(self) -> None:
        body = self._body()
        found = self._parsed(urlsplit(self.path).path)
        if found is not None:
            kind, ns, name, status = found
            self._answered(lambda: self.kube.replace((kind, ns, name), body, status=status))

    def do_DELETE(self) -> None:
        self._body()
        found = self._parsed(urlsplit(self.path).path)
        if found is not None:
            self._answered(lambda: self.kube.delete((found[0], found[1], found[2])))

    def _parsed(self, path: str) -> tuple[str, str, str, bool] | None:
        match = _PATH.match(path)
        kind = match["kind"] if match else ""
        if self.kube.refuse is not None:
            self._send(self.kube.refuse, Refusal(self.kube.refuse, "Refused", "it is refused").body)
        elif match is None or KINDS.get(kind, ("",))[0] != (match["group"] or match["core"]):
            self._send(404, Refusal(404, "NotFound", f"the server could not find {path}").body)
        else:
            return kind, match["ns"], match["name"] or "", bool(match["status"])
        return None

    def _body(self) -> dict[str, Any]:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        return dict(json.loads(raw)) if raw else {}

    def _answered(self, act: Any, code: int = 200) -> None:
        try:
            self._send(code, act())
        except Refusal as refusal:
            self._send(refusal.code, refusal.body)

    def _send(self, code: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        self.wfile.write(raw)

    def _stream(self, kind: str, ns: str, selector: str, query: dict[str, str]) -> None:
        events = self.kube.watch(kind, ns, selector, int(query.get("resourceVersion") or 0), WATCH_S)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for event in events:
                self.wfile.write(json.dumps(event).encode() + b"\n")
        except Refusal as refusal:
            self.wfile.write(json.dumps({"type": "ERROR", "object": refusal.body}).encode() + b"\n")
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
