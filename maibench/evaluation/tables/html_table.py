"""The main table of a run as HTML for a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from maibench.evaluation.tables.report_tables import headline, main_table, remarks, style_of
from maibench.evaluation.tables.shown import arranged

if TYPE_CHECKING:
    from maibench.evaluation.statistics.frames import Summary
    from maibench.evaluation.tables.cells import Cell, Table


def html(summary: Summary, run: dict) -> str:
    """Headline, main table and the lines under it; names are escaped, nothing but the notebook's own style is used."""
    style = style_of(run)
    summary = arranged(summary, style)
    notes = "".join(f"<li>{escape(note)}</li>" for note in remarks(summary, run, style))
    title = f"<p><strong>{escape(headline(summary, run))}</strong></p>"
    return f"<div>{title}{_table(main_table(summary, style))}<ul>{notes}</ul></div>"


def _table(table: Table) -> str:
    aligned = [' style="text-align: left"' if table.is_text(i) else "" for i in range(len(table.headers))]
    head = "".join(f"<th{how}>{escape(text)}</th>" for text, how in zip(table.headers, aligned, strict=True))
    rows = [
        "".join(f"<td{how}>{_text(cell)}</td>" for cell, how in zip(row, aligned, strict=True)) for row in table.rows
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(cell: Cell) -> str:
    return f"<strong>{escape(cell.text)}</strong>" if cell.best else escape(cell.text)
