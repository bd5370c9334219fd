"""Sentences from templates, and the recogniser that says what a sentence means.

In: the tables of `home`, the English templates of the package `home-assistant-intents`.
Out: `Grammar.walk(template, rng)` gives an utterance with its exact answer; `Grammar.answers(text)` gives every
answer which the templates allow for a text. The second is hassil's own matcher and shares no code with the first.
Must never know: splits, traffic, users, models.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

from retrain.demo.home import LISTS, NAMES, REWRITES, RULES, SKILLS, Skill

HERE = "here"
_IDLE = frozenset(("the", "my", "a", "an", "please", "to", "of", "by", "in", "percent", "degrees", "is", "are", "s"))
_PLURAL = re.compile(r"[a-z]{3,}s")
_ALIASES = {"start_minutes": "minutes", "start_hours": "hours"}


@dataclass(frozen=True)
class Spoken:
    """One expansion of a template. `phrase` is the utterance with its values replaced by {slot}."""

    text: str
    phrase: str
    answer: str
    shape: str
    """The answer with its values replaced by {slot}: all utterances of one shape ask for the same kind of thing."""


@dataclass(frozen=True)
class Template:
    """One sentence template of one skill."""

    key: str
    """`intent/block/sentence`, numbered as in the reduced template file."""
    skill: Skill
    expression: Any
    names: tuple[str, ...]
    """What `{name}` may be here."""
    context_area: bool
    """The block takes the room from where the speaker stands."""


def render(pattern: str, slots: dict[str, str]) -> str:
    """Fill an answer pattern; a bracketed part falls away when its slot is absent.

    >>> render("light on [in {area}] [{here}]", {"area": "kitchen"})
    'light on in kitchen'
    """

    def part(match: re.Match[str]) -> str:
        wanted = re.findall(r"\{(\w+)\}", match.group(1))
        return match.group(1) if all(name in slots for name in wanted) else ""

    kept = re.sub(r"\[([^\]]*)\]", part, pattern)
    return " ".join(kept.format(**slots).split())


def canonical(phrase: str) -> str:
    """The phrase without the words that carry nothing; equal forms are near-duplicates."""
    words = re.sub(r"[^\w{}]+", " ", phrase.lower()).split()
    return " ".join(w[:-1] if _PLURAL.fullmatch(w) else w for w in words if w not in _IDLE)


class Grammar:
    """The templates of `home.SKILLS`, parsed once (about a second)."""

    def __init__(self) -> None:
        from hassil.intents import Intents

        raw = json.loads((resources.files("home_assistant_intents") / "data" / "en.json").read_text("utf-8"))
        reduced, origins = _reduce(raw)
        self._intents: Any = Intents.from_dict(reduced)
        self._rules: dict[str, Any] = self._intents.expansion_rules
        self.templates: list[Template] = []
        for (intent, block), (skill, names, context_area) in origins.items():
            data = self._intents.intents[intent].data[block]
            for number, sentence in enumerate(data.sentences):
                key = f"{intent}/{block}/{number}"
                self.templates.append(Template(key, skill, sentence.expression, names, context_area))

    def walk(self, template: Template, rng: random.Random) -> Spoken:
        """One random expansion of the template."""
        slots: dict[str, str] = {HERE: HERE} if template.context_area else {}
        text, phrase = self._walk(template.expression, template.names, slots, rng)
        if {"area", "floor"} & set(slots):
            slots.pop(HERE, None)
        pattern = template.skill.answer
        shape = render(pattern, {name: HERE if name == HERE else f"{{{name}}}" for name in slots})
        return Spoken(_tidy(text), _tidy(phrase), render(pattern, slots), shape)

    def answers(self, text: str) -> frozenset[str]:
        """Every answer the templates allow for this text: none, one, or several when it is ambiguous."""
        from hassil.recognize import recognize_all

        found: set[str] = set()
        for result in recognize_all(text, self._intents, intent_context={"area": HERE}):
            skill = SKILLS[result.intent_metadata["skill"]]
            slots = {_ALIASES.get(e.name, e.name): e.text.strip() or str(e.value) for e in result.entities.values()}
            if slots.get("area") == HERE:
                slots[HERE] = slots.pop("area")
            if {"area", "floor"} & set(slots):
                slots.pop(HERE, None)
            found.add(render(skill.answer, slots))
        return frozenset(found)

    def _walk(self, node: Any, names: tuple[str, ...], slots: dict[str, str], rng: random.Random) -> tuple[str, str]:
        """Text and phrase of one parsed expression; spoken values go to `slots`."""
        from hassil.expression import Alternative, ListReference, Permutation, RuleReference, TextChunk

        if isinstance(node, TextChunk):
            return node.original_text, node.original_text
        if isinstance(node, RuleReference):
            return self._walk(self._rules[node.rule_name].expression, names, slots, rng)
        if isinstance(node, ListReference):
            slot = _ALIASES.get(node.slot_name, node.slot_name)
            value = rng.choice(names if node.list_name == "name" else LISTS[node.list_name])
            slots[slot] = value
            return value, f"{{{slot}}}"
        items = list(node.items)
        if isinstance(node, Alternative):
            items = [rng.choice(items)]
        elif isinstance(node, Permutation):
            rng.shuffle(items)
        pairs = [self._walk(item, names, slots, rng) for item in items]
        glue = " " if isinstance(node, Permutation) else ""
        return glue.join(a for a, _ in pairs), glue.join(b for _, b in pairs)


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    return re.sub(r"\b(the|my) (the|my)\b", r"\2", text)


Origin = tuple[Skill, tuple[str, ...], bool]


def _reduce(raw: dict[str, Any]) -> tuple[dict[str, Any], dict[tuple[str, int], Origin]]:
    """The package's templates less what no skill uses, in its own format; and whence each block comes."""
    intents: dict[str, Any] = {}
    origins: dict[tuple[str, int], Origin] = {}
    for number, skill in enumerate(SKILLS):
        data = intents.setdefault(skill.intent, {"data": []})["data"]
        for block in raw["intents"][skill.intent]["data"]:
            names, sentences = _names(skill, block), _sentences(skill, block)
            if names is None or not sentences:
                continue
            needs = block.get("requires_context") or {}
            context: dict[str, Any] = {"area": {"slot": True}} if "area" in needs else {}
            if names:
                context["domain"] = list(_domains(skill, block))
            origins[(skill.intent, len(data))] = (skill, names, "area" in context)
            data.append({"sentences": sentences, "metadata": {"skill": number}, "requires_context": context})
    rules = {**raw["expansion_rules"], **RULES}
    return {"language": "en", "intents": intents, "lists": _lists(), "expansion_rules": rules}, origins


def _lists() -> dict[str, Any]:
    """The values of every slot in hassil's format; device names carry their domain as context."""
    lists: dict[str, Any] = {name: {"values": list(values)} for name, values in LISTS.items()}
    named = [(v, domain) for domain, values in NAMES.items() for v in values]
    lists["name"] = {"values": [{"in": v, "out": v, "context": {"domain": domain}} for v, domain in named]}
    return lists


def _sentences(skill: Skill, block: dict[str, Any]) -> list[str]:
    kept: list[str] = [s for s in block["sentences"] if not (skill.drop and re.search(skill.drop, s))]
    for pattern, plain in REWRITES:
        kept = [re.sub(pattern, plain, s) for s in kept]
    return kept


def _domains(skill: Skill, block: dict[str, Any]) -> tuple[str, ...]:
    """The domains whose names both the skill and the block allow."""
    allowed = (block.get("requires_context") or {}).get("domain") or ()
    allowed = (allowed,) if isinstance(allowed, str) else tuple(allowed)
    return tuple(d for d in skill.names if d in allowed)


def _names(skill: Skill, block: dict[str, Any]) -> tuple[str, ...] | None:
    """What `{name}` may be: () when the block has no device name, None when it is not the skill's block."""
    domain = (block.get("slots") or {}).get("domain")
    if block["metadata"]["slot_combination"] not in skill.combos:
        return None
    if skill.response is not None and block.get("response") != skill.response:
        return None
    if skill.domain is not None and domain != skill.domain:
        return None
    if "domain" in (block.get("requires_context") or {}):
        return tuple(v for d in _domains(skill, block) for v in NAMES[d]) or None
    return ()
