"""A table of text cells: what every format is written from."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

EMPTY = "–"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the number behind it (NaN: none), and whether it is the best of its column."""

    text: str
    value: float = math.nan
    best: bool = False
    is_name: bool = False


@dataclass(frozen=True)
class Table:
    """A header and rows of cells, all of one length; the first `n_names` columns hold names, the others values.

    A value is a number, a number with what belongs to it, as in "0.912 [0.88, 0.94]", "0.62 (0.5)", "0.912 ± 0.01" and
    "0.912*", or a dash. A column with anything else ("4.83 M"), or with names (`is_name`), is written as text.
    """

    headers: list[str]
    rows: list[list[Cell]]
    n_names: int = 1

    def is_text(self, column: int) -> bool:
        """Whether a column holds names, which begin at its left; numbers end at its right."""
        return column < self.n_names or any(row[column].is_name for row in self.rows)

    def transposed(self, corner: str) -> Table:
        """The table with rows and columns swapped, `corner` in the first cell; for tables with one column of names."""
        headers = [corner, *(row[0].text for row in self.rows)]
        rows = [
            [Cell(header, is_name=True), *(row[i] for row in self.rows)]
            for i, header in enumerate(self.headers[1:], start=1)
        ]
        return Table(headers, rows)


def one_line(text: object) -> str:
    """`text` as printable characters on one line: newlines, control characters and direction marks become spaces."""
    return " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in str(text)).split())
