"""Reads a log's schema: its tables, what they refer to, what tells one row from another."""

from sqlite_utils import Database


def tables(db: Database) -> list[str]:
    """The tables that hold rows of their own, in the order they were made; not those of search indexes."""
    made = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    virtual = [name for name, sql in made if sql.upper().startswith("CREATE VIRTUAL")]
    kept = ("sqlite_", "_sqlite_", *virtual)
    return [name for name, _ in made if not name.startswith(kept)]


def references(db: Database, table: str) -> dict[str, str]:
    """Each column of `table` that refers to another table's id, with that table's name."""
    return {column: referred for _, _, referred, column, *_ in db.execute(f"PRAGMA foreign_key_list({table})")}


def columns(db: Database, table: str) -> list[str]:
    """The columns of `table` that hold what was written to them; none that are computed."""
    return [column for _, column, *_ in db.execute(f"PRAGMA table_info({table})").fetchall()]


def natural_key(db: Database, table: str) -> list[str]:
    """The columns of the table's first uniqueness constraint, or all but its id where there is none."""
    for _, index, unique, origin, _ in db.execute(f"PRAGMA index_list({table})").fetchall():
        if unique and origin in ("u", "pk"):
            return [column for _, _, column in db.execute(f"PRAGMA index_info('{index}')").fetchall()]
    return [column for column in columns(db, table) if column != "id"]
