"""A table of text cells, and how it is written in a terminal, in Markdown and in LaTeX.

What the cells say is `tables.py`'s business. Names come from data and may hold anything, so each format
escapes them; values are our own digits, brackets and dashes, and are written as they are.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

EMPTY = "–"

# What a terminal gives to one name; Markdown, LaTeX and the CSV files carry it whole.
_NAME_WIDTH = 28

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "→": r"$\to$",
    "·": r"$\cdot$",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "æ": r"\ae{}",
}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, the number behind it (NaN: none), and whether it is the best of its column."""

    text: str
    value: float = math.nan
    best: bool = False
    is_name: bool = False


@dataclass(frozen=True)
class Table:
    """A header and rows of cells, all of one length; the first `n_names` columns hold names, the others values."""

    headers: list[str]
    rows: list[list[Cell]]
    n_names: int = 1

    def transposed(self, corner: str) -> "Table":
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


# --- Markdown


def escape_markdown(text: object) -> str:
    """`text` as literal text of GitHub Markdown, safe in a cell of a table; `a_b` stays readable as it is."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\|*`\[\]~$])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def markdown_table(table: Table) -> str:
    """`table` in GitHub Markdown, padded so that its source can be read too; the best values are bold."""

    def text(cell: Cell) -> str:
        shown = escape_markdown(cell.text) if cell.is_name else cell.text
        return f"**{shown}**" if cell.best else shown

    lines = [[escape_markdown(header) for header in table.headers], *([text(c) for c in row] for row in table.rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.headers))]
    padded = [
        [t.ljust(w) if i < table.n_names else t.rjust(w) for i, (t, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]
    rule = ["-" * w if i < table.n_names else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [padded[0], rule, *padded[1:]])


# --- LaTeX


def escape_latex(text: object) -> str:
    """`text` as literal text for pdfLaTeX with its default fonts.

    A character that those fonts lack would stop the compilation: it is written as its code point, `U+4E2D`.
    """
    return "".join(_latex_character(c) for c in one_line(text))


def _latex_character(c: str) -> str:
    if c in _LATEX:
        return _LATEX[c]
    parts = unicodedata.normalize("NFD", c)
    has_accent_of_latex = c < "\u0180" and len(parts) == 2 and parts[0].isalpha() and parts[1] != "\u0328"
    return c if c.isascii() or has_accent_of_latex else f"U+{ord(c):04X}"


def latex_table(table: Table, caption: str, label: str, notes: list[str], environment: str = "table") -> str:
    """A float with `table` in booktabs rules; caption and notes are plain text and are escaped here."""

    def text(cell: Cell) -> str:
        shown = escape_latex(cell.text)
        return rf"\textbf{{{shown}}}" if cell.best else shown

    def line(cells: list[str]) -> str:
        # After \\ or \midrule, LaTeX reads "[" or "*" as an argument, across the line's end.
        protected = "{}" + cells[0] if cells[0].startswith(("[", "*")) else cells[0]
        return " & ".join([protected, *cells[1:]]) + r" \\"

    alignment = "".join("l" if i < table.n_names else "r" for i in range(len(table.headers)))
    # A text's width holds 11 columns of this size, no more.
    size = (r"\footnotesize", "3pt") if len(table.headers) <= 11 else (r"\scriptsize", "2pt")
    under = [r"\par\smallskip", r"\begin{minipage}{\linewidth}\raggedright"]
    under += [escape_latex(note) + r"\par" for note in notes] + [r"\end{minipage}"]
    return "\n".join(
        [
            rf"\begin{{{environment}}}[t]",
            r"\centering",
            size[0],
            rf"\setlength{{\tabcolsep}}{{{size[1]}}}",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            line([escape_latex(header) for header in table.headers]),
            r"\midrule",
            *(line([text(cell) for cell in row]) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            *(under if notes else []),
            rf"\end{{{environment}}}",
        ]
    )


# --- terminal


@dataclass(frozen=True)
class TerminalTable:
    """A rich renderable: `table` under its title, cut into blocks of columns where the terminal is narrow.

    Every block repeats the columns of names. No text is read as rich's markup.
    """

    table: Table
    title: str

    def __rich_console__(self, console, options) -> Iterator:
        from rich.text import Text

        yield Text(self.title, style="bold")
        texts, widths = _measured(self.table)
        gap, blocks = _blocks(widths, self.table.n_names, options.max_width)
        for i, block in enumerate(blocks):
            if i > 0:
                yield Text("")
            columns = [*range(self.table.n_names), *block]
            height = max(len(texts[0][c]) for c in columns)
            for k in range(height):
                header = [([""] * (height - len(texts[0][c])) + texts[0][c])[k] for c in columns]
                yield self._line(columns, header, widths, gap, Text)
            yield Text("─" * (sum(widths[c] for c in columns) + gap * (len(columns) - 1)), style="dim")
            for cells, row in zip(texts[1:], self.table.rows, strict=True):
                yield self._line(columns, [cells[c][0] for c in columns], widths, gap, Text, row)

    def _line(self, columns, texts, widths, gap, text_class, row=None):
        from rich.cells import cell_len

        line = text_class(no_wrap=True, overflow="crop")
        for c, text in zip(columns, texts, strict=True):
            space = " " * (widths[c] - cell_len(text))
            padded = text + space if c < self.table.n_names else space + text
            line.append(padded, style="bold" if row is None or row[c].best else "")
            if c != columns[-1]:
                line.append(" " * gap)
        return line


def _measured(table: Table) -> tuple[list[list[list[str]]], list[int]]:
    """The lines of text of every cell, header first, and every column's width in the terminal's cells."""
    from rich.cells import cell_len

    def cut(text: str) -> str:
        text = one_line(text)
        while cell_len(text) > _NAME_WIDTH:
            text = text[:-2] + "…"
        return text

    columns, widths = [], []
    for i, header in enumerate(table.headers):
        cells = [row[i].text for row in table.rows]
        cells = [cut(t) for t in cells] if i < table.n_names else _stars_outside(cells)
        width = max((cell_len(t) for t in cells), default=0)
        lines = _wrapped(cut(header), width)
        columns.append([lines, *([t] for t in cells)])
        widths.append(max(width, *(cell_len(t) for t in lines)))
    return [list(row) for row in zip(*columns, strict=True)], widths


def _stars_outside(texts: list[str]) -> list[str]:
    """A mark after some numbers of a column must not push their digits out of line."""
    return [t if t.endswith("*") else t + " " for t in texts] if any(t.endswith("*") for t in texts) else texts


def _wrapped(header: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in header.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def _blocks(widths: list[int], n_names: int, available: int) -> tuple[int, list[list[int]]]:
    """The gap between columns, and the columns of values of each block: one block if a narrow gap achieves that."""
    values = range(n_names, len(widths))
    for gap in (2, 1):
        if sum(widths) + gap * (len(widths) - 1) <= available:
            return gap, [list(values)]
    gap, names = 2, sum(widths[:n_names]) + 2 * (n_names - 1)
    blocks: list[list[int]] = []
    used = available
    for c in values:
        if not blocks or used + gap + widths[c] > available:
            blocks.append([])
            used = names
        blocks[-1].append(c)
        used += gap + widths[c]
    return gap, blocks or [[]]
