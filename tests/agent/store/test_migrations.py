"""Databases of before are brought up; those of after, and of nobody, are refused in one sentence."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Connection, Engine, inspect, text
from sqlmodel import SQLModel

from agent.cli import main
from agent.store import Store, dialect
from agent.store import open as opening
from agent.store.migrations import config, upgrade
from agent.types import InvalidInput
from tests.agent.store.traffic import exchange
from tests.estate.postgres import Postgres

OLD = Path(__file__).parent / "old"
"""What `sqlite3 trimtab.db .dump` says of databases that released versions made."""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine on a database without any table."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'trimtab.db'}"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.clone(None)
    engine = dialect.engine_of(dialect.address(url), read_only=False, connections=4)
    yield engine
    engine.dispose()


def other_default(_: Any, __: Any, column: Column[Any], there: str | None, ___: Any, ours: str | None) -> bool | None:
    """Whether the default of a JSON column differs, which PostgreSQL cannot compare; None lets alembic look."""
    plain = (there or "").removesuffix("::json").strip("'")
    return plain != (ours or "").strip("'") if isinstance(column.type, JSON) else None


def differences(connection: Connection) -> list[Any]:
    """What alembic would change to make the database what the models say."""
    how = {"compare_type": True, "compare_server_default": other_default}
    context = MigrationContext.configure(connection, opts=how)
    return list(compare_metadata(context, SQLModel.metadata))


def shape(connection: Connection) -> dict[str, Any]:
    """Columns, keys and indexes of every table, as the database tells them."""
    there = inspect(connection)
    return {
        name: (
            sorted((c["name"], str(c["type"]), c["nullable"], str(c["default"])) for c in there.get_columns(name)),
            there.get_pk_constraint(name)["constrained_columns"],
            sorted(tuple(u["column_names"]) for u in there.get_unique_constraints(name)),
            sorted((i["name"], tuple(i["column_names"])) for i in there.get_indexes(name)),
        )
        for name in there.get_table_names()
    }


def test_the_migrations_end_at_what_the_models_say(empty: Engine) -> None:
    """Run from nothing they give the same tables as the models do, and alembic finds nothing left to change."""
    with dialect.writing(empty) as connection:
        upgrade(connection)
        assert opening.revision(connection) == opening.HEAD
        assert differences(connection) == []
        migrated = shape(connection)
        for name in migrated:
            connection.execute(text(f"DROP TABLE {name}"))
        opening.make(connection)
        assert shape(connection) == migrated
        assert differences(connection) == []


def test_the_program_knows_its_newest_migration(empty: Engine) -> None:
    """A migration that is added without raising HEAD, or the other way round, is found here."""
    with empty.connect() as connection:
        script = ScriptDirectory.from_config(config(connection))
    assert script.get_heads() == [opening.HEAD]


@pytest.mark.parametrize("dump", sorted(OLD.glob("*.sql")), ids=lambda path: path.stem)
def test_a_file_of_an_earlier_version_keeps_its_rows(dump: Path, tmp_path: Path) -> None:
    """Opened, it has the newest schema and every row of before, and takes new ones."""
    with sqlite3.connect(tmp_path / "trimtab.db") as raw:
        raw.executescript(dump.read_text())
    raw.close()
    with pytest.raises(InvalidInput, match="of an earlier version: start `trimtab agent` once"):
        Store.reading(tmp_path)
    store = Store.at(tmp_path)
    assert [e for _, e in store.exchanges_after(0, 9)] == [exchange(n) for n in (1, 2, 3)]
    assert [len(grades) for _, _, grades in store.graded(0)] == [1]
    assert store.capture_counts()["lost"] == 1
    assert store.load_state("watch") == (2, b"{}")
    store.note_worker("w", 7, exchange(1).started_at, assigned=9, dropped=1, pod="pod-a")
    assert store.add_exchanges([exchange(4)]) == 1
    with store.engine.connect() as connection:
        assert differences(connection) == []
    store.close()


def test_a_file_that_grew_before_there_were_revisions(tmp_path: Path) -> None:
    """Tables, columns and indexes that came later are added to the oldest files."""
    with sqlite3.connect(tmp_path / "trimtab.db") as raw:
        raw.executescript((OLD / "0.1.0.sql").read_text())
        for column in ("text_gone", "tools", "answers"):
            raw.execute(f"ALTER TABLE exchange DROP COLUMN {column}")
        raw.execute("DROP TABLE tally_exchange")
        raw.execute("DROP INDEX reading_series")
    raw.close()
    store = Store.at(tmp_path)
    store.add_exchanges([exchange(4)])
    assert [e.tools for _, e in store.exchanges_after(2, 9)] == [(), ("light",)]
    with store.engine.connect() as connection:
        assert differences(connection) == []
    store.close()


def test_postgresql_comes_up_from_every_revision(postgres: Postgres) -> None:
    """A database that stopped at an earlier revision is brought up when it is opened, and keeps its rows."""
    url = postgres.clone(None)
    engine = dialect.engine_of(dialect.address(url), read_only=False, connections=4)
    with dialect.writing(engine) as connection:
        upgrade(connection, "0001")
        connection.execute(text("INSERT INTO worker VALUES ('w', 1, '2026-11-01', 4, 1)"))
    engine.dispose()
    store = Store(url)
    assert store.capture_counts()["assigned"] == 4
    store.close()


@pytest.mark.parametrize(
    ("there", "says"),
    [("0999", "is newer than this program"), ("ae1027a6acf", "which this program does not know")],
)
def test_a_schema_of_the_future_or_of_nobody_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], there: str, says: str
) -> None:
    """One sentence, exit code 2, and nothing is touched."""
    Store.at(tmp_path).close()
    with sqlite3.connect(tmp_path / "trimtab.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = ?", [there])
    raw.close()
    (tmp_path / "s.yaml").write_text(f"home: {tmp_path}\n")
    monkeypatch.setattr("sys.argv", ["trimtab", "approve", "x", "--settings", str(tmp_path / "s.yaml")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert "restore a backup" in said
    with pytest.raises(InvalidInput, match="restore a backup"):
        Store.reading(tmp_path)


def test_many_that_open_at_once_make_it_once(empty: Engine) -> None:
    """A database without tables, opened by six at the same moment, is made by one; the others wait and find it."""
    url = empty.url.render_as_string(hide_password=False)
    faults: list[Exception] = []
    ready = threading.Barrier(6)

    def open_it() -> None:
        ready.wait()
        try:
            Store(url, connections=4).close()
        except Exception as fault:  # noqa: BLE001 - shown below
            faults.append(fault)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_file_that_somebody_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turning a file to WAL is refused at once where others wait: it is asked again until whoever holds it lets go."""
    raw = sqlite3.connect(tmp_path / "trimtab.db", check_same_thread=False)
    raw.execute("CREATE TABLE other (x)")
    raw.execute("BEGIN")
    raw.execute("SELECT * FROM other").fetchall()
    raw.execute("INSERT INTO other VALUES (1)")
    monkeypatch.setattr(dialect, "PRAGMAS", ("busy_timeout=0", *dialect.PRAGMAS))
    monkeypatch.setattr("agent.store.dialect.time.sleep", lambda _s: raw.rollback())
    Store.at(tmp_path).close()
    raw.close()


def test_a_migration_that_fails_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All migrations are one transaction with the revision: after a crash in the middle the next start begins anew."""
    with sqlite3.connect(tmp_path / "trimtab.db") as raw:
        raw.executescript((OLD / "0.1.0.sql").read_text())
    with monkeypatch.context() as broken:
        broken.setattr("alembic.operations.Operations.add_column", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Store.at(tmp_path)
    assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone() == (0,)
    raw.close()
    Store.at(tmp_path).close()


def test_alembic_is_loaded_for_a_migration_alone(tmp_path: Path) -> None:
    """The idle sidecar neither waits for it nor holds it in memory."""
    script = "import sys; from agent.store import Store; from pathlib import Path; Store.at(Path(sys.argv[1])).close();"
    script += "print('alembic' in sys.modules, 'psycopg' in sys.modules)"
    for _ in range(2):
        said = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=True, text=True)
        assert said.stdout == "False False\n"
