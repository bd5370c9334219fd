"""A Ray cluster as a cluster of orders: one Ray job an attempt.

Lives here: four requests of Ray's Jobs REST API, and what a job's status means.
Comes in: settings, an order's id. Goes out: requests to the cluster's dashboard; what became of jobs.
Must never know: the store, what the job does beyond its exit status.

By HTTP, because Ray documents this API and its Python client would bring 250 MB into the sidecar for four requests. The
submission id is `<order>-<attempt>`: submitting it twice is refused by the cluster itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from agent.launch.remote import Seen, State
from agent.settings import RaySettings
from agent.types import InvalidInput, RemoteFault

BAD_ORDER = 2
"""Exit status of a job whose order must be written differently."""
ORDER = "trimtab_order"
TIMEOUT_S = 30.0
_STATES = {"SUCCEEDED": State.ENDED, "FAILED": State.DIED, "STOPPED": State.OVER}


class Ray:
    """The jobs of one Ray cluster."""

    name = "Ray"

    def __init__(self, settings: RaySettings, command: Sequence[str], token: str = "") -> None:
        """`command` gets the order's id as its last word; `token` is the cluster's, where it asks for one.

        Raises InvalidInput when no address is set.
        """
        if settings.address is None:
            raise InvalidInput("retrain.launcher ray needs retrain.ray.address: the cluster's dashboard")
        self._settings, self._command = settings, tuple(command)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=settings.address, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def jobs(self) -> Mapping[str, Seen]:
        """See Cluster."""
        newest: dict[str, tuple[int, dict[str, Any]]] = {}
        for job in self._asked("GET", "/api/jobs/").json():
            order_id = (job.get("metadata") or {}).get(ORDER)
            attempt = str(job.get("submission_id") or "").rpartition("-")[2]
            if order_id and attempt.isdecimal() and int(attempt) > newest.get(order_id, (-1, {}))[0]:
                newest[order_id] = (int(attempt), job)
        return {order_id: _seen(job) for order_id, (_, job) in newest.items()}

    def start(self, order_id: str, attempt: int) -> None:
        """See Cluster."""
        of, name = self._settings, f"{order_id}-{attempt}"
        body = {
            "submission_id": name,
            "entrypoint": shlex.join([*self._command, order_id]),
            "entrypoint_num_gpus": of.gpus,
            "entrypoint_num_cpus": of.cpus,
            "metadata": {ORDER: order_id},
            "runtime_env": of.runtime_env,
        }
        try:
            self._asked("POST", "/api/jobs/", body)
        except (InvalidInput, RemoteFault):
            if self._there(name):
                return
            raise

    def end(self, order_id: str) -> None:
        """See Cluster."""
        for job in self._asked("GET", "/api/jobs/").json():
            mine = (job.get("metadata") or {}).get(ORDER) == order_id
            if mine and _seen(job).state is State.ALIVE:
                self._asked("POST", f"/api/jobs/{job['submission_id']}/stop")

    def close(self) -> None:
        """See Cluster."""
        self._http.close()

    def _there(self, name: str) -> bool:
        try:
            return self._http.get(f"/api/jobs/{name}").is_success
        except httpx.HTTPError:
            return False

    def _asked(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise RemoteFault(
                f"Ray at {self._settings.address} does not answer ({str(error) or type(error).__name__})"
            ) from error
        said = answer.text.strip().splitlines()[-2:]
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise InvalidInput(f"Ray at {self._settings.address} wants a token: set RAY_AUTH_TOKEN")
        if answer.is_client_error:
            raise InvalidInput(
                f"Ray at {self._settings.address} refused {path} ({answer.status_code}: {' '.join(said)[:300]}): mend "
                "retrain.ray in the settings"
            )
        if not answer.is_success:
            raise RemoteFault(f"Ray answered {answer.status_code} to {path}: {' '.join(said)[:300]}")
        return answer


def _seen(job: Mapping[str, Any]) -> Seen:
    state = _STATES.get(str(job["status"]), State.ALIVE)
    if state is State.DIED and job.get("driver_exit_code") == BAD_ORDER:
        state = State.OVER
    if state is State.ALIVE:
        return Seen(state=state)
    lines = [line.strip() for line in str(job.get("message") or "").splitlines() if line.strip()]
    return Seen(state=state, says=lines[-1][:300] if lines else "")
