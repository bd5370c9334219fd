"""What a base model's licence lets one do with an adapter of it (pure).

In: a licence as a model card names it, the declared use. Out: allowed, allowed under conditions, or not, and why.
Must never know: files, models. No legal advice: each row names the text that counts.

Only two uses are told apart: `commercial` (a product, a service, a company's own work) and `research`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from serving.errors import InvalidInput

Use = Literal["commercial", "research"]
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Licence:
    """One licence.

    `commercial` says whether it allows such use; `conditions` are words for a person, empty for the usual (keep the
    notice and the text); `source` is where its text stands.
    """

    id: str
    name: str
    commercial: bool
    conditions: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """`allowed` is None when nobody knows. `says` is one sentence."""

    licence: str
    use: Use
    allowed: bool | None
    conditions: str
    says: str


def _row(licence: str, name: str, *, commercial: bool, conditions: str, source: str) -> tuple[str, Licence]:
    return licence, Licence(id=licence, name=name, commercial=commercial, conditions=conditions, source=source)


_CC = "https://creativecommons.org/licenses"
_LLAMA = (
    "show 'Built with Meta Llama', begin the adapter's name with Llama, pass the agreement on; above 700 million "
    "monthly users ask Meta; its acceptable use policy binds"
)
_RAIL = "its use restrictions bind, and must be passed on with the adapter"
_SHARE = "an adapter that is passed on must carry the same licence"

TABLE: dict[str, Licence] = dict(
    [
        _row("apache-2.0", "Apache License 2.0", commercial=True, conditions="",
             source="https://www.apache.org/licenses/LICENSE-2.0"),
        _row("mit", "MIT License", commercial=True, conditions="", source="https://opensource.org/license/mit"),
        _row("bsd-3-clause", "BSD 3-Clause", commercial=True, conditions="",
             source="https://opensource.org/license/bsd-3-clause"),
        _row("bsd-2-clause", "BSD 2-Clause", commercial=True, conditions="",
             source="https://opensource.org/license/bsd-2-clause"),
        _row("cc0-1.0", "CC0 1.0", commercial=True, conditions="",
             source="https://creativecommons.org/publicdomain/zero/1.0/"),
        _row("unlicense", "The Unlicense", commercial=True, conditions="", source="https://unlicense.org"),
        _row("cc-by-4.0", "CC BY 4.0", commercial=True, conditions="name the authors", source=f"{_CC}/by/4.0/"),
        _row("cc-by-sa-4.0", "CC BY-SA 4.0", commercial=True, conditions=_SHARE, source=f"{_CC}/by-sa/4.0/"),
        _row("cc-by-nc-4.0", "CC BY-NC 4.0", commercial=False, conditions="name the authors",
             source=f"{_CC}/by-nc/4.0/"),
        _row("cc-by-nc-sa-4.0", "CC BY-NC-SA 4.0", commercial=False, conditions=_SHARE,
             source=f"{_CC}/by-nc-sa/4.0/"),
        _row("cc-by-nc-nd-4.0", "CC BY-NC-ND 4.0", commercial=False,
             conditions="what is made of it must not be passed on", source=f"{_CC}/by-nc-nd/4.0/"),
        _row("gpl-3.0", "GNU GPL 3", commercial=True, conditions=_SHARE,
             source="https://www.gnu.org/licenses/gpl-3.0.html"),
        _row("agpl-3.0", "GNU AGPL 3", commercial=True, conditions=f"{_SHARE}, also to those it is served to",
             source="https://www.gnu.org/licenses/agpl-3.0.html"),
        _row("llama2", "Llama 2 Community License", commercial=True,
             conditions="pass the agreement on; above 700 million monthly users ask Meta; its answers must not train "
             "other models; its acceptable use policy binds", source="https://ai.meta.com/llama/license/"),
        _row("llama3", "Meta Llama 3 Community License", commercial=True,
             conditions=f"{_LLAMA}; its answers must not train other models",
             source="https://www.llama.com/llama3/license/"),
        _row("llama3.1", "Llama 3.1 Community License", commercial=True, conditions=_LLAMA,
             source="https://www.llama.com/llama3_1/license/"),
        _row("llama3.2", "Llama 3.2 Community License", commercial=True, conditions=_LLAMA,
             source="https://www.llama.com/llama3_2/license/"),
        _row("llama3.3", "Llama 3.3 Community License", commercial=True, conditions=_LLAMA,
             source="https://www.llama.com/llama3_3/license/"),
        _row("llama4", "Llama 4 Community License", commercial=True, conditions=_LLAMA,
             source="https://www.llama.com/llama4/license/"),
        _row("gemma", "Gemma Terms of Use", commercial=True,
             conditions="its prohibited use policy binds; pass the terms on and say what was changed",
             source="https://ai.google.dev/gemma/terms"),
        _row("tongyi-qianwen", "Tongyi Qianwen License", commercial=True,
             conditions="above 100 million monthly users ask Alibaba Cloud; show 'Built with Qwen'",
             source="https://huggingface.co/Qwen/Qwen2.5-72B-Instruct/blob/main/LICENSE"),
        _row("qwen-research", "Qwen Research License", commercial=False, conditions="show 'Built with Qwen'",
             source="https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE"),
        _row("mrl", "Mistral AI Research License", commercial=False, conditions="pass the licence on",
             source="https://mistral.ai/licenses/MRL-0.1.md"),
        _row("deepseek", "DeepSeek Model License", commercial=True, conditions=_RAIL,
             source="https://github.com/deepseek-ai/DeepSeek-LLM/blob/main/LICENSE-MODEL"),
        _row("bigscience-bloom-rail-1.0", "BigScience BLOOM RAIL 1.0", commercial=True, conditions=_RAIL,
             source="https://huggingface.co/spaces/bigscience/license"),
        _row("bigscience-openrail-m", "BigScience OpenRAIL-M", commercial=True, conditions=_RAIL,
             source="https://www.bigscience.huggingface.co/blog/bigscience-openrail-m"),
        _row("openrail", "OpenRAIL", commercial=True, conditions=_RAIL,
             source="https://www.licenses.ai/blog/2022/8/26/bigscience-open-rail-m-license"),
        _row("bigcode-openrail-m", "BigCode OpenRAIL-M 1", commercial=True, conditions=_RAIL,
             source="https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement"),
    ]
)  # fmt: skip
"""The identifiers are those of Hugging Face's model cards (https://huggingface.co/docs/hub/repositories-licenses)."""

_ALIASES = {
    "apache2.0": "apache-2.0", "apache2": "apache-2.0", "apache-license-2.0": "apache-2.0", "bsd": "bsd-3-clause",
    "llama-2": "llama2", "llama-3": "llama3", "mistral-ai-research-license": "mrl", "mnpl": "mrl",
    "qwen": "tongyi-qianwen", "tongyi-qianwen-research": "qwen-research", "deepseek-license": "deepseek",
    "cc-by-nc-2.0": "cc-by-nc-4.0", "cc-by-nc-3.0": "cc-by-nc-4.0",
}  # fmt: skip


def known(name: str | None) -> Licence | None:
    """The row of a licence however a card spells it; None for one that the table does not hold."""
    if not name:
        return None
    plain = re.sub(r"[\s_]+", "-", name.strip().casefold())
    return TABLE.get(_ALIASES.get(plain, plain))


def ruling(name: str | None, use: Use) -> Ruling:
    """Hold a licence against the declared use."""
    row = known(name)
    if row is None:
        called = f"{name!r} is not in the table" if name else "no card, config or licence file names one"
        says = f"licence unknown ({called}): read its text, then write base_model.licence"
        return Ruling(licence=name or UNKNOWN, use=use, allowed=None, conditions="", says=says)
    if use == "commercial" and not row.commercial:
        says = f"{row.name} forbids commercial use ({row.source}): take another base model, or declare use: research"
        return Ruling(licence=row.id, use=use, allowed=False, conditions=row.conditions, says=says)
    says = f"{row.name} allows {use} use" + (f"; {row.conditions}" if row.conditions else "") + f" ({row.source})"
    return Ruling(licence=row.id, use=use, allowed=True, conditions=row.conditions, says=says)


def refuse(name: str | None, use: Use, where: str) -> Ruling:
    """The ruling. Raises InvalidInput when the licence does not, or not knowingly, allow the use."""
    found = ruling(name, use)
    if not found.allowed:
        raise InvalidInput(f"base model {where}: {found.says}")
    return found
