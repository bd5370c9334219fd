"""Where the texts of the scenarios come from: real ones that ship with packages, and made ones.

Lives here: `Source` and the table `SOURCES`. Comes in: a name. Goes out: pools of (prompt, answer) by topic; usual
topics and new ones. Must never know: streams, changes, detectors. The same machine gives the same pools.

`commands`: sentences people say to a smart home (home-assistant-intents). `docstrings`: what functions of Python's
standard library say they do. `packages`: Debian's package descriptions, where apt knows them. `made`: words drawn from
a topic's own Zipf law, about 700 characters an exchange.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Pair = tuple[str, str]
Pools = dict[str, list[Pair]]

CACHE = Path(__file__).parents[2] / ".trimtab" / "scenarios" / "texts"
_LEAST = 30
"""A topic with fewer texts is left out."""
_LONGEST = 700
LANGUAGES = ("de", "fr", "es", "nl")


@dataclass(frozen=True, slots=True)
class Source:
    """Texts by topic; `new` topics never occur before a change."""

    name: str
    usual: Mapping[str, list[Pair]]
    new: Mapping[str, list[Pair]]


@cache
def source(name: str) -> Source:
    """One of `SOURCES`: up to 15 s the first time, then from the cache."""
    key = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()[:12]
    file = CACHE / f"{name}-{key}.json"
    if not file.exists():
        usual, new = SOURCES[name]()
        CACHE.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps([_large(usual), _large(new)]), encoding="utf-8")
        part.replace(file)
    usual, new = (_pairs(pools) for pools in json.loads(file.read_text(encoding="utf-8")))
    return Source(name, usual, new)


def _pairs(pools: dict[str, list[list[str]]]) -> Pools:
    return {topic: [(prompt, answer) for prompt, answer in pairs] for topic, pairs in pools.items()}


def available() -> list[str]:
    """The sources that this machine has."""
    missing = set()
    if importlib.util.find_spec("home_assistant_intents") is None or importlib.util.find_spec("hassil") is None:
        missing.add("commands")
    if len(_dumpavail()) < 1_000_000:
        missing.add("packages")
    return [name for name in SOURCES if name not in missing]


def _large(pools: Pools) -> Pools:
    return {topic: pairs for topic, pairs in sorted(pools.items()) if len(pairs) >= _LEAST}


def _commands() -> tuple[Pools, Pools]:
    from retrain.demo.data import traffic

    pools: tuple[Pools, Pools] = defaultdict(list), defaultdict(list)
    for request in (*traffic("reference", 1, 5_000), *traffic("drifted", 2, 3_000, new_share=1.0)):
        pools[request.is_new][request.intent].append((request.utterance, request.answer))
    return pools


def _docstrings() -> tuple[Pools, Pools]:
    pools: tuple[Pools, Pools] = defaultdict(list), defaultdict(list)
    for topic, pair in _documented(Path(sysconfig.get_paths()["stdlib"])):
        pools[topic in {"tkinter", "turtle", "xml", "unittest"}][topic].append(pair)
    return pools


_NO_TOPIC = {"test", "tests", "idlelib", "site-packages", "dist-packages", "lib2to3", "distutils"}


def _documented(library: Path) -> Iterator[tuple[str, Pair]]:
    for file in sorted(library.rglob("*.py")):
        inside = file.relative_to(library)
        if _NO_TOPIC & set(inside.parts) or inside.name.startswith("test_"):
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        module, topic = ".".join(inside.with_suffix("").parts), inside.with_suffix("").parts[0].strip("_")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                said = ast.get_docstring(node)
                if said and len(said) >= 40:
                    yield topic, (f"What does {node.name} in {module} do?{_takes(node)}", said[:_LONGEST])


def _takes(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    names = [] if isinstance(node, ast.ClassDef) else [a.arg for a in node.args.args if a.arg != "self"]
    return f" It takes {', '.join(names)}." if names else ""


@cache
def _dumpavail() -> str:
    program = shutil.which("apt-cache")
    if program is None:
        return ""
    return subprocess.run([program, "dumpavail"], capture_output=True, check=False).stdout.decode(errors="replace")


def _packages() -> tuple[Pools, Pools]:
    pools: tuple[Pools, Pools] = defaultdict(list), defaultdict(list)
    usual = {"utils", "net", "admin", "web", "mail", "sound", "video", "graphics", "text", "editors", "database"}
    new = {"science", "games", "math", "electronics", "hamradio", "education"}
    for stanza in _dumpavail().split("\n\n"):
        found: dict[str, str] = dict(re.findall(r"^(Package|Section|Description(?:-en)?): (.*)$", stanza, re.MULTILINE))
        section, says = found.get("Section", ""), found.get("Description", found.get("Description-en", ""))
        if section in usual | new and len(says) >= 15:
            pair = (f"What is {found['Package']}?", f"{says[0].upper()}{says[1:]}.")
            pools[section in new][section].append(pair)
    return pools


def _made() -> tuple[Pools, Pools]:
    r = random.Random(6)
    sounds = [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "on")]
    common = ["".join(r.choices(sounds, k=r.choice((1, 1, 2)))) for _ in range(150)]
    pools: tuple[Pools, Pools] = {}, {}
    for topic in range(14):
        own = ["".join(r.choices(sounds, k=r.choice((2, 3, 3, 4)))) for _ in range(700)]
        pools[topic >= 10][f"topic-{topic}"] = [_exchange(r, common, own) for _ in range(400)]
    return pools


def _exchange(r: random.Random, common: list[str], own: list[str]) -> Pair:
    prompt = _sentence(r, common, own, int(r.lognormvariate(2.9, 0.6)) + 3)
    asked = [word for word in re.findall(r"\w+", prompt) if word in own] or own[:1]
    answer = " ".join(_sentence(r, common, own + asked * 40, r.randint(6, 16)) for _ in range(r.randint(3, 11)))
    return prompt, answer[:_LONGEST]


def _sentence(r: random.Random, common: list[str], own: list[str], words: int) -> str:
    said = [(common if r.random() < 0.5 else own)[_zipf(r, 150)] for _ in range(words)]
    if r.random() < 0.5:
        said = [r.choice(own) if r.random() < 0.2 else word for word in said]
    return " ".join(said).capitalize() + r.choice((".", ".", ".", "?"))


def _zipf(r: random.Random, n: int) -> int:
    return min(int(n ** r.random()) - 1, n - 1)


SOURCES: dict[str, Callable[[], tuple[Pools, Pools]]] = {
    "commands": _commands,
    "docstrings": _docstrings,
    "packages": _packages,
    "made": _made,
}
"""Usual and new topics of each source."""


@cache
def foreign(language: str) -> list[str]:
    """Smart-home sentences in another language, spelt out from the templates of home-assistant-intents."""
    import home_assistant_intents

    file = Path(str(home_assistant_intents.__file__)).parent / "data" / f"{language}.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    rules, r = data.get("expansion_rules", {}), random.Random(language)
    templates = [
        sentence for intent in data["intents"].values() for block in intent["data"] for sentence in block["sentences"]
    ]
    spelt = {_spelt(template, rules, r) for template in itertools.islice(itertools.cycle(templates), 4_000)}
    return sorted(text for text in spelt if 8 <= len(text) <= 120)


_INNERMOST = re.compile(r"\[([^\[\]()]*)\]|\(([^\[\]()]*)\)")
_RULE = re.compile(r"<([^<>]+)>")
_SLOTS = ("Lena", "Jonas", "12", "20", "3", "55", "Atlas", "Nova", "Luna")


def _spelt(template: str, rules: Mapping[str, str], r: random.Random) -> str:
    """One reading of a template: `[may be]`, `(this|that)`, `<rule>`, `{slot}`."""
    text = template
    for _ in range(12):
        if not _RULE.search(text):
            break
        text = _RULE.sub(lambda m: f"({rules.get(m[1], '')})", text)
    while _INNERMOST.search(text):
        text = _INNERMOST.sub(lambda m: _one_of(m, r), text)
    text = re.sub(r"\{[^{}]*\}", lambda _: r.choice(_SLOTS), text)
    return " ".join(re.sub(r"[\[\](){}<>|;]", " ", text).split())


def _one_of(found: re.Match[str], r: random.Random) -> str:
    optional = found[1] is not None
    return "" if optional and r.random() < 0.5 else r.choice((found[1] if optional else found[2]).split("|"))
