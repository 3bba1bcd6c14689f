"""A table of text cells as Markdown and as LaTeX.

What the cells say is `tables.py`'s business. Names come from data and may hold anything, so each format
escapes them; values are our own digits, brackets and dashes, and are written as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from maibench.evaluation.tables.cells import EMPTY, Cell, Table, one_line
from maibench.evaluation.tables.latex_text import (
    breakable,
    broken_lines,
    digits,
    escape_latex,
    header_lines,
    stacked,
    widest,
)

# --- Markdown


def escape_markdown(text: object) -> str:
    """`text` as literal text of GitHub Markdown, safe in a cell of a table; `a_b` stays readable as it is."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\|*`~$])", r"\\\1", text)
    # of brackets, those that make a link, its target or a task; an interval stays readable
    text = re.sub(r"\](?=[(\[:])|^\[", r"\\\g<0>", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def markdown_table(table: Table) -> str:
    """`table` in GitHub Markdown, padded so that its source can be read too; the best values are bold."""

    def shown(cell: Cell) -> str:
        text = escape_markdown(cell.text) if cell.is_name else cell.text.replace("<", "&lt;")
        return f"**{text}**" if cell.best else text

    lines = [[escape_markdown(header) for header in table.headers], *([shown(c) for c in row] for row in table.rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.headers))]
    is_text = [table.is_text(i) for i in range(len(widths))]
    padded = [
        [t.ljust(w) if text else t.rjust(w) for t, w, text in zip(line, widths, is_text, strict=True)] for line in lines
    ]
    rule = ["-" * w if text else "-" * (w - 1) + ":" for w, text in zip(widths, is_text, strict=True)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [padded[0], rule, *padded[1:]])


# --- LaTeX

LATEX_NEEDS = "% Needs \\usepackage{booktabs} and \\usepackage{siunitx} (version 3; texlive-science in Debian).\n"
"""The first line of a file with `latex_table`s."""

# Width of a column and of a page of a two-column paper (article on A4; most others are wider), in points.
_COLUMN, _PAGE = 218.0, 448.0

# Size, width of a digit in it, and the space beside a column, in points, for a document in 10 point.
_SIZES = ((r"\footnotesize", 4.25, 3.0), (r"\scriptsize", 3.98, 2.0))

# Lines of a table that a page holds beside a caption; what is longer becomes several floats.
_LINES = 46

_LONGEST_NAME = 26
_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?(\*?(?: [(\[±].+)?)")


@dataclass(frozen=True)
class _Column:
    """A column of a table as LaTeX: its part of the preamble, its header, its cells (with the `&` between a number and
    what follows it), its width in digits, and how many lines its header and its cells have."""

    preamble: str
    header: str
    cells: list[str]
    width: float
    head_height: int
    heights: list[int]


def latex_table(table: Table, caption: str, label: str, notes: Sequence[str], environment: str | None = None) -> str:
    """`table` in booktabs rules, its numbers in siunitx' S columns: one float, or several where it has many rows.

    What stands behind a number, as an interval does, has a column of its own. Caption and notes are plain text and are
    escaped here. environment: `table`, `table*` or, by default, that which is as wide as needed; a table that is wider
    than a page is cut into blocks of columns, names repeated.
    """
    columns = _latex_columns(table)
    environment, size, blocks = _layout(columns, table.n_names, environment)
    under = [r"\par\smallskip", r"\begin{minipage}{\linewidth}\raggedright"]
    under += [breakable(note) + r"\par" for note in notes] + [r"\end{minipage}"]
    pages = _pages([[columns[c] for c in block] for block in blocks], len(table.rows))
    floats = []
    for i, tabulars in enumerate(pages):
        lines = [
            rf"\begin{{{environment}}}[t]",
            r"\centering",
            size[0],
            rf"\setlength{{\tabcolsep}}{{{size[2]:g}pt}}",
            r"\sisetup{detect-weight=true, retain-explicit-plus=true}",
            rf"\caption{{{breakable(caption if i == 0 else f'{caption} (continued)')}}}",
            *([rf"\label{{{label}}}"] if i == 0 else []),
            r"\smallskip",
            "\n\\par\\medskip\n".join(tabulars),
            *(under if notes and i == len(pages) - 1 else []),
            rf"\end{{{environment}}}",
        ]
        floats.append("\n".join(lines))
    return "\n\n".join(floats)


def _pages(blocks: list[list[_Column]], n_rows: int) -> list[list[str]]:
    """The tabulars of each float: as many rows of all blocks as a page holds, else a block at a time."""
    head = max((column.head_height for block in blocks for column in block), default=1) + 2
    heights = [max(column.heights[row] for block in blocks for column in block) for row in range(n_rows)]
    room = _LINES // len(blocks) - head
    room = _LINES - head if room < 8 else room
    starts = [0]
    for row in range(n_rows):
        if sum(heights[starts[-1] : row + 1]) > room and row > starts[-1]:
            starts.append(row)
    pages: list[list[str]] = []
    used = _LINES + 1
    for first, last in zip(starts, [*starts[1:], n_rows], strict=True):
        for block in blocks:
            height = head + sum(heights[first:last])
            if used + height > _LINES:
                pages.append([])
                used = 0
            pages[-1].append(_tabular(block, first, last))
            used += height
    return pages


def _tabular(columns: list[_Column], first: int, last: int) -> str:
    def line(cells: list[str]) -> str:
        # After \\ or \midrule, LaTeX reads "[" or "*" as an argument, across the line's end.
        protected = "{}" + cells[0] if cells[0].startswith(("[", "*")) else cells[0]
        return " & ".join([protected, *cells[1:]]) + r" \\"

    return "\n".join(
        [
            rf"\begin{{tabular}}{{{' '.join(column.preamble for column in columns)}}}",
            r"\toprule",
            line([column.header for column in columns]),
            r"\midrule",
            *(line(list(row)) for row in zip(*(column.cells[first:last] for column in columns), strict=True)),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _latex_columns(table: Table) -> list[_Column]:
    columns = []
    for i, header in enumerate(table.headers):
        cells = [row[i] for row in table.rows]
        texts = [one_line(cell.text) for cell in cells]
        parsed = [None if cell.is_name else _NUMBER.fullmatch(text) for cell, text in zip(cells, texts, strict=True)]
        others = [text for text, match in zip(texts, parsed, strict=True) if match is None]
        is_text = i < table.n_names or not any(parsed) or any(t not in ("", EMPTY) and t[0] != "<" for t in others)
        alignment = "l" if table.is_text(i) else "r"
        columns.append(_text_column(header, texts, alignment) if is_text else _number_column(header, cells, parsed))
    return columns


def _text_column(header: str, texts: list[str], alignment: str) -> _Column:
    lines = [broken_lines(text, _LONGEST_NAME) for text in texts]
    width = max((digits(line) for cell in lines for line in cell), default=0.0)
    head = header_lines(header, width)
    cells = [stacked(cell, "t", alignment) for cell in lines]
    heights = [len(cell) for cell in lines]
    return _Column(alignment, stacked(head, "b", alignment), cells, max(width, widest(head)), len(head), heights)


def _number_column(header: str, cells: list[Cell], parsed: Sequence[re.Match[str] | None]) -> _Column:
    found = [match.groups(default="") for match in parsed if match]
    whole, decimals = (max(len(groups[k]) for groups in found) for k in (1, 2))
    sign = next((groups[0] for groups in found if groups[0]), "")
    preamble = f"S[table-format={sign}{whole}.{decimals}]"
    tails = [match[4].strip() if match else "" for match in parsed]
    width = (1.6 if sign else 0) + whole + (0.6 if decimals else 0) + decimals
    width *= 1.15 if any(cell.best for cell in cells) else 1
    texts = []
    for cell, match, tail in zip(cells, parsed, tails, strict=True):
        shown = match[0][: match.start(4)] if match else ""
        text = (r"\bfseries " if cell.best else "") + shown if match else f"{{{escape_latex(cell.text)}}}"
        texts.append(text + (f" & {escape_latex(tail)}" if any(tails) else ""))
    if any(tails):
        preamble += "@{}l" if set(tails) <= {"", "*"} else r"@{\hspace{0.3em}}l"
        width += 0.7 + max(map(digits, tails))
    head = header_lines(header, width)
    title = stacked(head, "b", "c")
    header = rf"\multicolumn{{2}}{{c}}{{{title}}}" if any(tails) else f"{{{title}}}"
    return _Column(preamble, header, texts, max(width, widest(head)), len(head), [1] * len(cells))


def _layout(
    columns: list[_Column], n_names: int, environment: str | None
) -> tuple[str, tuple[str, float, float], list[list[int]]]:
    """The float's environment, the size of its text, and the columns of each block."""
    rooms = {"table": _COLUMN, "table*": _PAGE}
    tried = [environment] if environment else list(rooms)
    for name in tried:
        for size in _SIZES:
            if sum(column.width * size[1] + 2 * size[2] for column in columns) <= rooms[name]:
                return name, size, [list(range(len(columns)))]
    size = _SIZES[0]
    widths = [column.width * size[1] + 2 * size[2] for column in columns]
    blocks: list[list[int]] = []
    used = math.inf
    for c in range(n_names, len(columns)):
        if used + widths[c] > rooms[tried[-1]]:
            blocks.append(list(range(n_names)))
            used = sum(widths[:n_names])
        blocks[-1].append(c)
        used += widths[c]
    return tried[-1], size, blocks or [list(range(n_names))]
