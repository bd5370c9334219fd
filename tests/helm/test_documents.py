"""The chart's README: every name in it exists, every command of it is taken."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from agent.export.table import METRICS
from agent.settings import Settings
from tests.helm.chart import CHART, INSTALLS, ROOT, helm

README = (ROOT / "helm" / "README.md").read_text(encoding="utf-8")
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", README)))
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("agent", "serving", "retrain")
    for path in (ROOT / folder).rglob("*.py")
)


def is_value(path: str) -> bool:
    """Whether values.yaml has this key."""
    found: Any = VALUES
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True


def is_setting(path: str) -> bool:
    """Whether the sidecar has this setting."""
    model: Any = Settings
    for key in path.split("."):
        if not (isinstance(model, type) and issubclass(model, BaseModel) and key in model.model_fields):
            return False
        model = model.model_fields[key].annotation
    return True


def test_every_key_is_one_of_the_values_or_of_the_settings() -> None:
    """`engine.gpus` is in values.yaml, `policy.fresh_exchanges` in agent/settings; nothing is made up."""
    tops = {*VALUES, *Settings.model_fields}
    dotted = [q.split("=")[0] for q in QUOTED if re.fullmatch(r"[a-zA-Z]+(\.[a-zA-Z_]+)+(=\w+)?", q)]
    keys = [key for key in dotted if key.split(".")[0] in tops and not key.endswith((".md", ".py", ".yaml", ".db"))]
    assert len(keys) > 30
    for key in keys:
        assert is_value(key) or is_setting(key.removeprefix("agent.settings.")), key


def test_every_variable_exists() -> None:
    """What the table of secrets names is what the program and its libraries read."""
    names = set(re.findall(r"\b(?:TRIMTAB|AWS)_[A-Z_]+\b", README))
    assert "TRIMTAB_TOKEN" in names
    for name in names:
        assert name in CODE, name


def test_every_alert_and_metric_exists() -> None:
    """Each alert has its rule and its heading in the runbook."""
    rules = (ROOT / "alerts" / "trimtab.rules.yaml").read_text(encoding="utf-8")
    runbook = (ROOT / "alerts" / "RUNBOOK.md").read_text(encoding="utf-8")
    alerts = set(re.findall(r"\bTrimtab[A-Z]\w+\b", README))
    assert len(alerts) > 8
    for name in alerts:
        assert f"alert: {name}\n" in rules, name
        assert f"## {name}\n" in runbook, name
    assert set(re.findall(r"\btrimtab_[a-z_]+\b", README)) <= {metric.name for metric in METRICS}


def test_every_port_is_the_program_s() -> None:
    """The API's and the sidecar's, as vLLM and the settings have them, and no third."""
    ports = set(re.findall(r"(?:port |ports |:)(\d{4,5})\b", README))
    assert ports == {"8000", str(Settings().http.port)}


def test_every_command_of_trimtab_exists() -> None:
    """`trimtab doctor` and the like are commands of agent/cli.py."""
    source = (ROOT / "agent" / "cli.py").read_text(encoding="utf-8")
    commands = {q.split()[1] for q in QUOTED if re.match(r"trimtab [a-z]+", q)}
    assert {"adopt", "approve", "doctor", "export", "import", "forget"} <= commands
    for name in commands:
        assert re.search(rf'def {name}\(|command\("{name}"\)', source), name


def test_every_path_exists() -> None:
    """Files of the repository that the page names are there, and so is each way to install, with no other."""
    for quoted in QUOTED:
        if re.fullmatch(r"(?:agent|alerts|retrain|serving|tests|helm)/[\w./-]+\w/?", quoted):
            assert (ROOT / quoted).exists(), quoted
    table = re.findall(r"(?m)^\| `([a-z-]+)` \| ", README.partition("## Install")[0])
    assert sorted(table) == sorted(INSTALLS)
    assert "helm/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """Every helm command of the page, as words."""
    text = "\n".join(re.findall(r"```\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("helm ")]


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words[1:3]))
def test_every_helm_command_is_taken(words: list[str], tmp_path: Path) -> None:
    """An upgrade with the values of before is rendered with those of the first installation."""
    assert words[1] in ("install", "upgrade")
    assert words[3] == "helm/trimtab"
    rest = [word for word in words[4:] if word != "--reset-then-reuse-values"]
    before = ["--set", "model.existingClaim=my-models"] if words[1] == "upgrade" else []
    ran = helm("template", words[2], ".", *before, *rest)
    assert ran.returncode == 0, ran.stderr


def test_there_are_commands_for_each_step() -> None:
    """Install, attach, alarms, retraining: each with a command to copy."""
    assert len(commands()) >= 4
