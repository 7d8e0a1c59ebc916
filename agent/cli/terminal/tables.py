"""Tables as the terminal shows them."""

from rich.table import Table


def plain_table(*columns: str) -> Table:
    """Columns under bold heads, without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
