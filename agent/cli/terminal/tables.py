"""Tables for the terminal."""

from rich.table import Table


def plain_table(*columns: str) -> Table:
    """Makes a table with bold heads and without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
