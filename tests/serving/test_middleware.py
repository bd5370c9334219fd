"""The one class that vLLM mounts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from serving import wire
from serving.errors import InvalidInput
from serving.middleware import TapSettings, Trimtab
from tests.estate.ear import Ear, until
from tests.serving.asgi import Upstream, ask

ROOT = Path(__file__).resolve().parents[2]


def test_the_whole_way(tmp_path: Path) -> None:
    """From the environment to the agent: the alias resolved, the exchange captured, admin closed."""

    async def body() -> None:
        ear, upstream = Ear(tmp_path / "s"), Upstream()
        await ear.open()
        trimtab = Trimtab(upstream, TapSettings.read({"TRIMTAB_SOCKET": str(ear.path), "TRIMTAB_TOKEN": "sesame"}))
        assert (await ask(trimtab, "/adapters")).status == 403
        await ask(trimtab, "/v1/completions", b'{"model":"base"}')
        await until(lambda: bool(ear.captures))
        ear.say(wire.encode_table({"home": {"home-v1": 1.0}}))
        await until(lambda: bool(trimtab.alias.table))
        answer = await ask(trimtab, "/v1/completions", b'{"model":"home"}')
        assert answer.headers[b"x-trimtab-version"] == b"home-v1"
        await until(lambda: len(ear.captures) == 2)
        assert [(c.request, c.alias, c.version) for c in ear.captures] == [
            (b'{"model":"base"}', None, None),
            (b'{"model":"home-v1"}', "home", "home-v1"),
        ]
        assert trimtab.spool is not None
        await trimtab.spool.stop()
        await ear.close()

    asyncio.run(body())


def test_without_a_socket_nothing_is_captured() -> None:
    """Guard and alias work alone."""
    trimtab = Trimtab(Upstream(), TapSettings())
    assert trimtab.spool is None
    assert asyncio.run(ask(trimtab, "/v1/completions")).status == 200
    assert asyncio.run(ask(trimtab, "/sleep")).status == 403


def test_sizes_come_from_the_environment() -> None:
    """What is set counts, what is not has its default, and nonsense is refused with the way to write it."""
    read = TapSettings.read({"TRIMTAB_BUFFER_BYTES": "5", "TRIMTAB_BODY_CAP_BYTES": ""})
    assert (read.buffer_bytes, read.body_cap_bytes) == (5, 1 << 20)
    assert TapSettings.read({}).buffer_bytes == 64 << 20
    for name in ("TRIMTAB_BUFFER_BYTES", "TRIMTAB_BODY_CAP_BYTES"):
        with pytest.raises(InvalidInput, match=f"{name} is '64MB': write a whole number of bytes"):
            TapSettings.read({name: "64MB"})


def test_the_standard_library_is_enough() -> None:
    """The middleware loads in a Python that has nothing installed, as in a stock vLLM image."""
    code = "import serving.middleware, sys; print('httpx' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split() == ["False", "False"]
