"""Tables in Markdown."""

from collections.abc import Iterable, Sequence

__all__ = ["markdown_table"]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown, without a line's end behind it.

    Args:
        head: the title of each column.
        rows: cells, as many in each as there are titles.
        left: how many columns, the first ones, stand to the left; numbers, behind them, to the right.
    """
    title, *lines = (f"| {' | '.join(line)} |" for line in [head, *rows])
    return "\n".join([title, "|" + "---|" * left + "---:|" * (len(head) - left), *lines])
