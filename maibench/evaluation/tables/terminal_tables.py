"""A table in a terminal of any width: cut into blocks of columns, names repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maibench.evaluation.tables.formats import Table, one_line

# What a terminal gives to one name; Markdown, LaTeX and the CSV files carry it whole.
_NAME_WIDTH = 28


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
            padded = text + space if self.table.is_text(c) else space + text
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
        cells = [cut(row[i].text) if i < table.n_names or row[i].is_name else row[i].text for row in table.rows]
        cells = cells if i < table.n_names else _stars_outside(cells)
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
