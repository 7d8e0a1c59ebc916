"""Limits the time of a statement on a log: one that goes on for longer is not one that a log needs."""

import sqlite3
from time import monotonic

LONGEST_S = 30.0
"""Of reading; the slowest page over 100,000 labels takes a second."""
_STEPS = 100_000
"""Of SQLite's virtual machine between two looks at the clock, some milliseconds."""


def limit_statements(connection: sqlite3.Connection) -> None:
    """Ends each statement of the connection that goes on for too long, with sqlite3.OperationalError, interrupted."""
    ends = monotonic() + LONGEST_S

    def begun(_statement: str) -> None:
        nonlocal ends
        ends = monotonic() + LONGEST_S

    connection.set_trace_callback(begun)
    connection.set_progress_handler(lambda: monotonic() > ends, _STEPS)
