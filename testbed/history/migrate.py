# SPDX-License-Identifier: GPL-2.0
"""The version of a history's tables. Alembic is used here and in migrations/ only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from testbed.errors import SetupError

_FOLDER = Path(__file__).parent / "migrations"


# Alembic's own table.
_VERSIONS = "alembic_version"

# So many tables of another program are named.
_SHOWN = 3


def is_current(connection: Connection, name: str) -> bool:
    """Return whether a history has the tables of this testbed.

    Raises:
        SetupError: a newer testbed made it, or another program.
    """
    scripts = ScriptDirectory.from_config(_config(connection))
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if found is not None and found not in known:
        raise SetupError(
            f"the history {name} has version {found}, which a newer testbed made",
            hint=f"use that testbed, or another history; this one knows {max(known)} and older",
        )
    if found is None:
        _refuse_foreign(inspect(connection).get_table_names(), name)
    return found == scripts.get_current_head()


def _refuse_foreign(tables: Sequence[str], name: str) -> None:
    """Refuse a database that another program has made: it would get tables of a history."""
    if tables and _VERSIONS not in tables:
        some = ", ".join(sorted(tables)[:_SHOWN])
        message = (
            f"{name} is not a history: another program has made it, with tables such as {some}"
        )
        raise SetupError(message, hint="name a new file, or an empty database")


def upgrade(connection: Connection, version: str = "head") -> None:
    """Make the tables of a history, or bring those of an older testbed up to date."""
    command.upgrade(_config(connection), version)


def check(connection: Connection) -> None:
    """Check that migrations make the tables that schema.py describes.

    Raises:
        alembic.util.CommandError: they differ.
    """
    command.check(_config(connection))


def _config(connection: Connection) -> Config:
    config = Config()
    # configparser would read a percent sign in the path as a reference.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
