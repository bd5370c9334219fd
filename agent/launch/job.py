"""The Kubernetes Job of an order (pure).

Lives here: `manifest`, the Job's name, and the labels by which Jobs are found.
Comes in: settings, an order's id, whose order it is. Goes out: plain data, as Kubernetes takes it.
Must never know: the cluster, the store, what becomes of the Job.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.settings import KubernetesSettings

BAD_ORDER = 2
"""Exit status of a job whose order must be written differently."""
LABEL, ORDER, QUEUE = "app.kubernetes.io/managed-by", "trimtab.dev/order", "kueue.x-k8s.io/queue-name"
OWNER = "trimtab.dev/owner"
"""Label: a digest of whose order it is. Jobs of earlier programs have none; they are known by the order alone."""
MINE = "trimtab-launcher"
CONTAINER = "retrain"
NODE_GONE_S = 30
"""Seconds after which a pod of a lost node is given up, in place of Kubernetes' 300."""


def manifest(
    order_id: str, of: KubernetesSettings, home: Path, command: Sequence[str], *, owner: str, max_attempts: int
) -> dict[str, Any]:
    """The Job of an order, as it is sent; `command` gets the order's id as its last word."""
    labels = {LABEL: MINE}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(order_id, owner),
            "labels": labels | {OWNER: digest(owner)} | ({QUEUE: of.queue} if of.queue else {}),
            "annotations": {ORDER: order_id},
        },
        "spec": {
            "backoffLimit": max_attempts - 1,
            "activeDeadlineSeconds": of.deadline_s,
            "ttlSecondsAfterFinished": of.ttl_s,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [BAD_ORDER]},
                    },
                    {
                        "action": "Ignore",  # a node that is drained is no fault of the order
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": _merged(_pod([*command, order_id], of, str(home)), of.pod),
            },
        },
    }


def _pod(command: list[str], of: KubernetesSettings, home: str) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": f"claim-{n}", "persistentVolumeClaim": {"claimName": claim}} for n, claim in enumerate(of.claims)
    ]
    mounts = [{"name": f"claim-{n}", "mountPath": path} for n, path in enumerate(of.claims.values())]
    own = [("tmp", "/tmp")] + ([] if home in of.claims.values() else [("home", home)])  # noqa: S108  # in the pod
    volumes += [{"name": name, "emptyDir": {}} for name, _ in own]
    mounts += [{"name": name, "mountPath": path} for name, path in own]
    gone = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    return {
        "restartPolicy": "Never",
        "serviceAccountName": of.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_GONE_S} for key in gone
        ],
        "containers": [
            {
                "name": CONTAINER,
                "image": of.image,
                "command": command,
                "envFrom": [{"secretRef": {"name": name}} for name in of.secrets],
                "resources": {kind: {k: str(v) for k, v in of_it.items()} for kind, of_it in of.resources.items()},
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def job_name(order_id: str, owner: str) -> str:
    """A name that Kubernetes takes (a DNS label), one for every order of every owner, the same for the same."""
    plain = re.sub(r"[^a-z0-9]+", "-", order_id.lower()).strip("-")[:40].strip("-")
    return f"trimtab-{plain}-{digest(owner, order_id)}"


def digest(*words: str) -> str:
    """Twelve hex digits that words are told apart by."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def _merged(ours: dict[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """A pod's spec with what the settings add: mappings are merged, lists joined, the rest replaced."""
    both = dict(ours)
    for key, value in theirs.items():
        mine = both.get(key)
        if isinstance(mine, dict) and isinstance(value, Mapping):
            both[key] = _merged(mine, value)
        else:
            both[key] = [*mine, *value] if isinstance(mine, list) and isinstance(value, list) else value
    return both
