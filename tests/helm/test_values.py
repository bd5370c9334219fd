"""What may be asked of the chart: every key explained, every mistake refused in a sentence."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from tests.helm.chart import CHART, INSTALLS, helm
from tests.helm.settings_schema import with_settings

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
SERVE = ("model.existingClaim=m",)
JOB = ("retraining.where=job", "database.kind=postgresql", "database.existingSecret=d")
MANY = (*SERVE, "database.kind=postgresql", "database.existingSecret=d", "storage.accessMode=ReadWriteMany")


@cache
def refusal(*values: str) -> str:
    """What helm says when it does not install; fails when it would."""
    ran = helm("template", "demo", ".", *(part for value in values for part in ("--set", value)))
    assert ran.returncode != 0, "it would be installed"
    return ran.stderr


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("engine.maxLora=3", "maxLora"),
        ("engine.maxLoras=1", "/engine/maxLoras"),
        ("engine.image.digest=sha256:short", "/engine/image/digest"),
        ("engine.resources.limit.memory=1Gi", "limit"),
        ("mode=everything", "/mode"),
        ("agent.settings.alais=home", "alais"),
        ("agent.settings.quality.floor=2", "/agent/settings/quality/floor"),
        ("agent.settings.policy.gpu_hours=many", "/agent/settings/policy/gpu_hours"),
        ("attach.port=8321", "/attach/port"),
        ("model.mountPath=/cache", "/model/mountPath"),
        ("model.path=/absolute", "/model/path"),
        ("model.path=up/../there", "/model/path"),
        ("networkPolicy.apps[0].pods=all", "pods"),
        ("podDisruptionBudget.maxUnavailable=many", "/podDisruptionBudget/maxUnavailable"),
        ("service.type=Hidden", "/service/type"),
        ("storage.accessMode=ReadOnlyMany", "/storage/accessMode"),
        ("storage.size=plenty", "/storage/size"),
        ("user=0", "/user"),
    ],
)
def test_wrong_values_are_refused(value: str, named: str) -> None:
    """A key that does not exist, or a value that cannot be, must stop the installation and be named."""
    answer = refusal(*SERVE, value)
    assert "values don't meet the specifications of the schema" in answer
    assert named in answer


def test_the_settings_are_those_of_the_program() -> None:
    """A word that the sidecar refuses must be refused by helm: the pod of before has ended when the new one starts."""
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert text == with_settings(text), "python -m tests.helm.settings_schema writes it anew"


CONTRADICTIONS: list[tuple[tuple[str, ...], tuple[str, str]]] = [
    ((), ("mode", "model.existingClaim")),
    ((*SERVE, "attach.deployment=x"), ("mode", "attach.deployment")),
    (("mode=attach",), ("mode", "attach.deployment")),
    (("mode=observe", "autoscaling.enabled=true"), ("autoscaling.enabled", "mode")),
    ((*SERVE, "agent.settings.home=/x"), ("agent.settings.home", "storage")),
    ((*SERVE, "agent.settings.champion=/x"), ("agent.settings.champion", "model.champion")),
    ((*SERVE, "agent.settings.engine.url=http://x"), ("agent.settings.engine.url", "mode")),
    ((*SERVE, "agent.settings.engine.max_lora_rank=8"), ("engine.max_lora_rank", "engine.maxLoraRank")),
    ((*SERVE, "agent.settings.http.port=1"), ("agent.settings.http.port", "service.port")),
    ((*SERVE, "agent.settings.store.url=sqlite:///x"), ("agent.settings.store.url", "database.existingSecret")),
    ((*SERVE, *JOB, "agent.settings.retrain.kubernetes.image=x"), ("retrain.kubernetes.image", "retraining.image")),
    (("mode=observe", "retraining.where=sidecar"), ("retraining.where", "model.existingClaim")),
    ((*SERVE, "retraining.where=job"), ("retraining.where", "database.kind")),
    ((*SERVE, *JOB, "database.key=uri"), ("retraining.where", "database.key")),
    ((*SERVE, *JOB), ("retraining.where", "storage.accessMode")),
    (
        ("mode=attach", "attach.deployment=x", *SERVE, *JOB, "objects.url=s3://b"),
        ("retraining.where", "serviceAccount.existing"),
    ),
    ((*SERVE, "controller.enabled=true"), ("controller.enabled", "database.kind")),
    ((*MANY[:3], "controller.enabled=true"), ("controller.enabled", "storage.accessMode")),
    ((*MANY, "controller.enabled=true", "retraining.where=sidecar"), ("controller.enabled", "retraining.where")),
    ((*SERVE, "controller.serviceAccount=a"), ("controller.serviceAccount", "controller.enabled")),
    ((*SERVE, "agent.settings.role=sidecar"), ("agent.settings.role", "controller.enabled")),
    ((*SERVE, *JOB, "agent.settings.retrain.engine_url=http://x"), ("retrain.engine_url", "retraining.where")),
    (("mode=observe", *SERVE, *JOB, "objects.url=s3://b"), ("retraining.where", "mode")),
    ((*MANY, "objects.url=s3://b", "storage.existingClaim=c"), ("storage.existingClaim", "objects.url")),
    ((*SERVE, "objects.region=r"), ("objects.region", "objects.url")),
    ((*SERVE, "serviceAccount.existing=a", "serviceAccount.annotations.x=y"), (".existing", ".annotations")),
    ((*SERVE, "networkPolicy.restrictEgress=true", "objects.url=s3://b"), ("objects.url", "networkPolicy.egressTo")),
    ((*SERVE, "engine.gpus=0"), ("engine.gpus", "engine.image.repository")),
    ((*SERVE, r"engine.resources.limits.nvidia\.com/gpu=1"), ("engine.resources.limits", "engine.gpus")),
    ((*SERVE, "engine.extraArgs={--api-server-count=2}"), ("engine.extraArgs", "replicas")),
    ((*SERVE, "engine.extraArgs={--max-lora-rank=8}"), ("engine.extraArgs", "engine.maxLoraRank")),
    ((*SERVE, "engine.extraArgs={--max_lora_rank=8}"), ("engine.extraArgs", "engine.maxLoraRank")),
    ((*SERVE, "engine.extraArgs={-tp=2}"), ("engine.extraArgs", "engine.gpus")),
    ((*SERVE, "engine.extraEnv[0].name=TRIMTAB_SOCKET"), ("engine.extraEnv", "mode")),
    ((*SERVE, r"podLabels.app\.kubernetes\.io/component=x"), ("podLabels", "mode")),
    (
        (*SERVE, "secrets.existingSecret=s", "secrets.notifyUrls=x"),
        ("secrets.existingSecret", "secrets.notifyUrls"),
    ),
    ((*SERVE, "database.kind=postgresql"), ("database.kind", "database.existingSecret")),
    ((*SERVE, "database.existingSecret=d"), ("database.existingSecret", "database.kind")),
    ((*SERVE, "replicas=2"), ("replicas", "database.kind")),
    ((*SERVE, "maxSurge=1"), ("maxSurge", "database.kind")),
    ((*MANY[:3], "replicas=2"), ("replicas", "storage.accessMode")),
    ((*MANY[:3], "maxSurge=1"), ("maxSurge", "storage.accessMode")),
    ((*SERVE, "autoscaling.enabled=true"), ("autoscaling.enabled", "database.kind")),
    ((*MANY, "autoscaling.enabled=true"), ("autoscaling.metrics", "engine.resources.requests.cpu")),
    ((*MANY, "autoscaling.minReplicas=9"), ("autoscaling.minReplicas", "autoscaling.maxReplicas")),
    ((*SERVE, "storage.existingClaim=c", "storage.className=s"), ("storage.existingClaim", "storage.className")),
    ((*SERVE, "serviceMonitor.enabled=true"), ("serviceMonitor.enabled", "networkPolicy.monitoringNamespace")),
    ((*SERVE, "networkPolicy.enabled=false", "networkPolicy.restrictEgress=true"), ("restrictEgress", ".enabled")),
    ((*SERVE, "networkPolicy.restrictEgress=true", "secrets.notifyUrls=x"), ("secrets.notifyUrls", "egressTo")),
    ((*MANY, "networkPolicy.restrictEgress=true"), ("database.kind", "networkPolicy.egressTo")),
    (
        (*SERVE, "networkPolicy.restrictEgress=true", "agent.settings.quality.judge_url=http://j"),
        ("agent.settings.quality.judge_url", "networkPolicy.egressTo"),
    ),
]
"""Values, and the two of them that the refusal must name."""


@pytest.mark.parametrize(("values", "both"), CONTRADICTIONS)
def test_contradictions_are_refused_in_a_sentence_that_names_both(
    values: tuple[str, ...], both: tuple[str, str]
) -> None:
    """Whoever wrote them must not have to search for the other half."""
    sentence = said(values)
    assert all(name in sentence for name in both), sentence
    assert len(sentence.split()) > 10
    assert ": " in sentence or "so " in sentence


@pytest.mark.parametrize("release", ["7b-home", "home.v2"])
def test_a_release_that_services_cannot_be_called_after_is_refused(release: str) -> None:
    """Kubernetes would make half of the manifests, and refuse the Services."""
    ran = helm("template", release, ".", "--set", *SERVE)
    assert ran.returncode != 0
    assert f'the release is called "{release}"' in ran.stderr


def test_a_secret_is_asked_for_under_the_name_that_is_read() -> None:
    """Who is told to put the addresses into a Secret of their own must be told the right key."""
    assert "under the key TRIMTAB_NOTIFY_URLS" in said((*SERVE, "secrets.existingSecret=s", "secrets.notifyUrls=x"))


def test_no_contradiction_is_left_untried() -> None:
    """Every refusal of the templates is met by a case above, but for the one that looks at a living cluster."""
    text = (CHART / "templates" / "_checks.tpl").read_text(encoding="utf-8")
    sentences = re.findall(r'fail \(?(?:printf )?"([^"]+)"', text)
    assert len(sentences) == text.count("{{- fail ")
    heard = [said(values) for values, _ in CONTRADICTIONS]
    untried = [
        sentence
        for sentence in sentences
        if not any(re.fullmatch(re.sub(r"%[sdq]", ".+", re.escape(sentence)), one) for one in heard)
    ]
    assert [sentence.split(" but ")[0] for sentence in untried] == ["attach.deployment %s has several replicas"]


def said(values: tuple[str, ...]) -> str:
    """The sentence alone."""
    return re.sub(r"^.*execution error at \([^)]*\): ", "", refusal(*values).splitlines()[0])


def keys(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path of a tree of values."""
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys(value, (*path, key))


def closed(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object of the schema that has properties, with a name."""
    for name, part in (*schema.get("definitions", {}).items(), ("", schema)):
        stack = [(name, part)]
        while stack:
            where, now = stack.pop()
            if "properties" in now:
                yield where, now
                stack += [(f"{where}.{key}", value) for key, value in now["properties"].items()]
            if isinstance(now.get("items"), dict):
                stack.append((f"{where}[]", now["items"]))


def test_the_schema_is_strict_and_knows_every_value() -> None:
    """An object that lists its keys refuses all others, and no default is left without a rule."""
    for where, part in closed(SCHEMA):
        assert part["additionalProperties"] is False, where
    free = {
        "agent.settings",
        "engine.resources",
        "agent.resources",
        "controller.resources",
    }  # Kubernetes' and the agent's own shapes
    for path in keys(VALUES):
        rule: Mapping[str, Any] = SCHEMA
        for at, key in enumerate(path):
            if ".".join(path[:at]) in free:
                break
            if "$ref" in rule:
                rule = SCHEMA["definitions"][rule["$ref"].rpartition("/")[2]]
            if "properties" not in rule:
                break  # labels and the like: any key
            assert key in rule["properties"], path
            rule = rule["properties"][key]


def test_every_value_has_a_sentence_above_it() -> None:
    """Whoever installs must not have to guess."""
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    sections = {path[-1] for path in keys(VALUES) if isinstance(value_at(path), dict) and value_at(path)}
    kubernetes = re.compile(r" +(limits|requests|cpu|memory):")
    explained = 0
    for above, line in itertools.pairwise(lines):
        key = re.match(r" *([\w./]+):", line)
        if key and not (key[1] in sections and line.endswith(":")) and not kubernetes.match(line):
            assert re.fullmatch(r" *# \w.*\.", above), line
            explained += 1
    assert explained >= 60


def value_at(path: tuple[str, ...]) -> Any:
    """The default under a path."""
    found: Any = VALUES
    for key in path:
        found = found[key]
    return found


def test_each_way_to_install_differs_from_the_defaults() -> None:
    """A file in ci/ says in its first line what it is for, and names only what it changes."""
    for install in INSTALLS:
        text = (CHART / "ci" / f"{install}-values.yaml").read_text(encoding="utf-8")
        assert re.match(r"# \w.*[.,]\n", text), install
        assert yaml.safe_load(text) != {}
    assert len(INSTALLS) >= 8
