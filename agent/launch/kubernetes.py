"""A Kubernetes namespace as a cluster of orders: one Job an order.

Lives here: Jobs made, watched and ended, and what their status means. The Job itself: `job.py`.
Comes in: settings, an order's id. Goes out: requests by the official client; what became of Jobs.
Must never know: the store, what the Job's container does beyond its exit status.

The Job's name follows from the order's id and from whose order it is, so creating it twice is refused by the server
itself: one order never has two Jobs, and agents that share a namespace never take another's for theirs. Jobs are listed
once and then watched from that version on; a watch that ends or is too old begins with a list again, at the latest
after `RELIST_S`, so that what a watch missed is seen within a minute.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.launch.job import LABEL, MINE, ORDER, OWNER, digest, job_name, manifest
from agent.launch.remote import Seen, State
from agent.settings import KubernetesSettings
from agent.types import InvalidInput, RemoteFault

RELIST_S, WATCH_S, TIMEOUT_S = 30.0, 1, 10.0
HOME_NOTE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Kubernetes:
    """The Jobs of one namespace. Uses the pod's own account, or else the kubeconfig."""

    name = "Kubernetes"

    def __init__(
        self, settings: KubernetesSettings, home: Path, command: Sequence[str], *, owner: str, max_attempts: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`command` gets the order's id as its last word. Raises InvalidInput in one sentence.

        `owner` says whose orders these are, in the same words at every start and from every sidecar of one database.
        """
        try:
            from kubernetes import client, config, watch
        except ModuleNotFoundError as error:
            raise InvalidInput("retrain.launcher kubernetes needs its client: pip install 'trimtab[agent]'") from error
        if settings.image is None:
            raise InvalidInput("retrain.launcher kubernetes needs retrain.kubernetes.image: what the Jobs run")
        try:
            _find_cluster(config)
        except config.ConfigException as error:
            raise InvalidInput(
                f"retrain.launcher kubernetes knows no cluster ({error}): run in a pod, or set KUBECONFIG"
            ) from error
        self._settings, self._home, self._command, self._owner = settings, home, tuple(command), owner
        self._max_attempts, self._clock = max_attempts, clock
        self._batch, self._core = client.BatchV1Api(), client.CoreV1Api()
        self._watch, self._fault = watch.Watch, client.ApiException
        self.namespace = settings.namespace or _own_namespace(config)
        self._known: dict[str, Any] = {}
        self._version: str | None = None
        self._listed_at = 0.0

    def jobs(self) -> Mapping[str, Seen]:
        """See Cluster."""
        with self._faults("list Jobs"):
            if self._version is None or self._clock() - self._listed_at > RELIST_S:
                self._list()
            else:
                self._follow(self._version)
            mine = {name: order_id for name, job in self._known.items() if (order_id := self._mine(job)) is not None}
            return {order_id: self._seen(self._known[name]) for name, order_id in mine.items()}

    def start(self, order_id: str, attempt: int) -> None:  # noqa: ARG002  # the server counts a Job's attempts
        """See Cluster."""
        body = self.manifest(order_id)
        with self._faults("create a Job"):
            try:
                if self._named(order_id) != body["metadata"]["name"]:
                    return  # an earlier program made it, under the name of that time
                self._batch.create_namespaced_job(self.namespace, body, _request_timeout=TIMEOUT_S)
            except self._fault as fault:
                if fault.status != HTTPStatus.CONFLICT:
                    raise
        self._version = None

    def end(self, order_id: str) -> None:
        """See Cluster."""
        with self._faults("delete a Job"):
            try:
                self._batch.delete_namespaced_job(
                    self._named(order_id), self.namespace, propagation_policy="Background", _request_timeout=TIMEOUT_S
                )
            except self._fault as fault:
                if fault.status != HTTPStatus.NOT_FOUND:
                    raise
        self._version = None

    def close(self) -> None:
        """See Cluster."""
        self._batch.api_client.rest_client.pool_manager.clear()
        self._core.api_client.rest_client.pool_manager.clear()

    def manifest(self, order_id: str) -> dict[str, Any]:
        """The Job of an order, as it is sent."""
        return manifest(
            order_id, self._settings, self._home, self._command, owner=self._owner, max_attempts=self._max_attempts
        )

    # -- what is there ----------------------------------------------------------------------------

    def _list(self) -> None:
        answer = self._batch.list_namespaced_job(
            self.namespace, label_selector=f"{LABEL}={MINE}", _request_timeout=TIMEOUT_S
        )
        plain = self._batch.api_client.sanitize_for_serialization(answer)
        self._known = {job["metadata"]["name"]: job for job in plain["items"]}
        self._version, self._listed_at = plain["metadata"]["resourceVersion"], self._clock()

    def _follow(self, version: str) -> None:
        """What has changed since; a version that the server has forgotten is answered by a new list."""
        watching = self._watch()
        try:
            for event in watching.stream(
                self._batch.list_namespaced_job, self.namespace, label_selector=f"{LABEL}={MINE}",
                resource_version=version, timeout_seconds=WATCH_S, _request_timeout=TIMEOUT_S,
            ):  # fmt: skip
                job = event["raw_object"]
                if event["type"] == "DELETED":
                    self._known.pop(job["metadata"]["name"], None)
                else:
                    self._known[job["metadata"]["name"]] = job
                self._version = job["metadata"]["resourceVersion"]
        except self._fault as fault:
            if fault.status != HTTPStatus.GONE:
                raise
            self._list()

    def _mine(self, job: Mapping[str, Any]) -> str | None:
        """The order that a Job works on; None when it is another's."""
        found = job["metadata"]
        if (found.get("labels") or {}).get(OWNER, digest(self._owner)) != digest(self._owner):
            return None
        order_id: str | None = (found.get("annotations") or {}).get(ORDER)
        return order_id

    def _named(self, order_id: str) -> str:
        """The name of an order's Job: of the one that is known, or else of the one that would be made."""
        known = (name for name, job in self._known.items() if self._mine(job) == order_id)
        return next(known, job_name(order_id, self._owner))

    def _seen(self, job: Mapping[str, Any]) -> Seen:
        status = job.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition["status"] != "True":
                continue
            if condition["type"] == "Complete":
                return Seen(state=State.ENDED, says=self._last_words(job))
            if condition["type"] == "Failed":
                reason = f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
                return Seen(state=State.OVER, says=self._last_words(job) or f"Kubernetes gave its job up ({reason})")
        return Seen(state=State.ALIVE)

    def _last_words(self, job: Mapping[str, Any]) -> str:
        """The last line that the newest ended container said; empty when nobody may look, or nothing was said."""
        selector = f"batch.kubernetes.io/job-name={job['metadata']['name']}"
        try:
            answer = self._core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=TIMEOUT_S)
        except self._fault:
            return ""
        ended = [
            (state.terminated.finished_at.isoformat() if state.terminated.finished_at else "", state.terminated.message)
            for pod in answer.items
            for state in [one.state for one in pod.status.container_statuses or ()]
            if state.terminated and state.terminated.message
        ]
        said = max(ended)[1] if ended else ""
        return next((line.strip()[:300] for line in reversed(said.splitlines()) if line.strip()), "")

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        from urllib3.exceptions import HTTPError

        try:
            yield
        except self._fault as fault:
            said = _message(fault)
            self._version = None
            if fault.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise InvalidInput(
                    f"Kubernetes does not let the sidecar {what} in {self.namespace} ({said}): give its service "
                    "account create, delete, list and watch on jobs, and list on pods"
                ) from fault
            if fault.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY):
                raise InvalidInput(
                    f"Kubernetes refused to {what} ({said}): mend retrain.kubernetes in the settings"
                ) from fault
            raise RemoteFault(f"Kubernetes answered {fault.status} when asked to {what}: {said}") from fault
        except ValidationError as fault:
            first = fault.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidInput(
                f"no Job can be made of the settings ({where}: {first['msg']}): mend retrain.kubernetes"
            ) from fault
        except (HTTPError, OSError) as fault:
            self._version = None
            why = type(getattr(fault, "reason", None) or fault).__name__
            raise RemoteFault(f"Kubernetes does not answer when asked to {what} ({why})") from fault


def _find_cluster(config: Any) -> None:
    """The cluster of this pod, or else that of the kubeconfig."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()


def _own_namespace(config: Any) -> str:
    if HOME_NOTE.exists():
        return HOME_NOTE.read_text(encoding="utf-8").strip()
    try:
        return str(config.list_kube_config_contexts()[1]["context"].get("namespace") or "default")
    except (config.ConfigException, KeyError, TypeError):
        return "default"


def _message(fault: Any) -> str:
    found = re.search(r'"message":\s*"((?:[^"\\]|\\.)*)"', str(fault.body or ""))
    return (found.group(1) if found else str(fault.reason or fault.status))[:300]
