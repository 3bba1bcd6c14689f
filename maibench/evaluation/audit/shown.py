"""An audit as text: its tables as cells, audit.md, and what a terminal shows."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from maibench.evaluation.audit.audit import Audit
from maibench.evaluation.audit.parts import LIGHTS, Finding, Grid, Part
from maibench.evaluation.tables.formats import EMPTY, Cell, Table, escape_markdown, markdown_table, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

SHAPES = {"red": "✖", "yellow": "▲", "green": "●", "grey": "○"}
"""A light's shape, for whom its colour says nothing."""
MEANINGS = {
    "red": "it decides results",
    "yellow": "look at it",
    "green": "nothing, or next to nothing",
    "grey": "cannot be told",
}
MOST_FAILURES = 50
"""Images that could not be read, named at most; all are in audit.json."""
_STYLES = {"red": "bold red", "yellow": "bold yellow", "green": "green", "grey": "dim"}
_BEGINS_WITH_NUMBER = re.compile(r"[<≥±+\-−\[]?\s*\d[\d,]*(\.\d+)?(\s|$|%|\[|\(|,)")


def headline(audit: Audit) -> str:
    """What was audited: "data audit of demo, all splits: 480 images (240 real, 240 synthetic)"."""
    data = audit.data
    where = "all splits" if data["split"] == "all" else f"{data['split']} split"
    images = f"{data['images']:,} image{'s' if data['images'] != 1 else ''}"
    classes = f"{data['real']:,} real, {data['synthetic']:,} synthetic"
    return one_line(f"data audit of {data['name']}, {where}: {images} ({classes})")


def counted(audit: Audit) -> str:
    """How many findings have which light: "1 red, 2 yellow, 9 green"."""
    lights = [finding.light for finding in audit.findings]
    return ", ".join(f"{lights.count(light)} {light}" for light in LIGHTS if light in lights) or "nothing was looked at"


def remarks(audit: Audit) -> list[str]:
    """What stands under the lights."""
    return [*_verdict(audit), *audit.notes]


def not_green(audit: Audit) -> list[tuple[Part, Finding]]:
    """What a summary lists, the worst first."""
    found = [(part, finding) for part in audit.parts for finding in part.findings if finding.light != "green"]
    return sorted(found, key=lambda item: LIGHTS.index(item[1].light))


def by_light(part: Part) -> list[Finding]:
    """The findings of a part, the worst first."""
    return sorted(part.findings, key=lambda finding: LIGHTS.index(finding.light))


def legend() -> str:
    """What the lights mean."""
    return "; ".join(f"{SHAPES[light]} {light}: {MEANINGS[light]}" for light in LIGHTS)


def grid_table(grid: Grid) -> Table:
    """A grid as cells; columns with a word in them are names."""
    columns = list(zip(*grid.rows, strict=True)) if grid.rows else [() for _ in grid.columns]
    is_name = [any(isinstance(value, str) and not _BEGINS_WITH_NUMBER.match(value) for value in c) for c in columns]
    n_names = next((i for i, name in enumerate(is_name) if not name), len(is_name))
    rows = [[_cell(value, name) for value, name in zip(row, is_name, strict=True)] for row in grid.rows]
    return Table(grid.columns, rows, n_names=max(1, n_names))


def markdown(audit: Audit, pictures: dict[str, str]) -> str:
    """audit.md; pictures: the files of the shots by their titles, relative to it."""
    from maibench.evaluation.audit.method import method  # scipy with it, which no comparison has to wait for

    parts = [f"# {escape_markdown(headline(audit))}", _listed([counted(audit), *remarks(audit), legend()])]
    for part in audit.parts:
        parts.append(f"## {escape_markdown(part.title)}")
        parts += _lights(part)
        for grid in part.grids:
            parts.append(f"**{escape_markdown(grid.title)}**")
            parts.append(markdown_table(grid_table(grid)))
            parts += [_listed(grid.notes)] if grid.notes else []
        for shot in part.shots:
            parts.append(f"**{escape_markdown(shot.title)}**")
            named = re.sub(r"[\[\]]", "", shot.title)
            parts.append(f"![{escape_markdown(named)}]({pictures[shot.title]})")
            parts += [escape_markdown(shot.caption)] if shot.caption else []
    if audit.failures:
        parts += ["## Images that could not be read", _listed(failures(audit))]
    parts += ["## How this was measured", _listed([f"{title}: {text}" for title, text in method(audit.data)])]
    return "\n\n".join(parts) + "\n"


def failures(audit: Audit) -> list[str]:
    """The first MOST_FAILURES images that could not be read, and how many there are besides."""
    lines = [one_line(f"{failure['path']}: {failure['error']}") for failure in audit.failures[:MOST_FAILURES]]
    more = len(audit.failures) - len(lines)
    return lines + ([f"and {more:,} more, in audit.json"] if more else [])


def terminal(audit: Audit) -> RenderableType:
    """The lights, a line each, for `rich.console.Console.print`; what to do stands under what is not green."""
    from rich.console import Group
    from rich.table import Table as Lines
    from rich.text import Text

    lines = Lines.grid(padding=(0, 1))
    lines.add_column(no_wrap=True)
    lines.add_column()
    for part in audit.parts:
        lines.add_row("", "")
        lines.add_row("", Text(part.title, style="bold underline"))
        for finding in by_light(part):
            light = Text(f"{SHAPES[finding.light]} {finding.light}", style=_STYLES[finding.light])
            says = Text.assemble((one_line(finding.name), "bold"), f": {one_line(finding.says)}")
            if finding.todo and finding.light in ("red", "yellow"):
                says.append(f"\n→ {one_line(finding.todo)}", style="italic")
            lines.add_row(light, says)
    under = [Text(f"• {one_line(line)}") for line in remarks(audit)]
    return Group(Text(f"{headline(audit)}: {counted(audit)}", style="bold"), lines, Text(""), *under)


def _verdict(audit: Audit) -> list[str]:
    """What `--strict` says, and of what it says nothing."""
    strict = audit.strict
    names = ", ".join(why.partition(":")[0] for why in strict.why)
    how_far = ", as far as it could be judged" if strict.unjudged else ""
    lines = [f"audit --strict: {f'passed{how_far}' if strict.passed else f'not passed, by {names}'}"]
    return lines + ([f"not judged: {'; '.join(strict.unjudged)}"] if strict.unjudged else [])


def _lights(part: Part) -> list[str]:
    """A table of lights, and under it what to do about those that are not green."""
    found = by_light(part)
    rows = [
        [Cell(text, is_name=True) for text in (f"{SHAPES[finding.light]} {finding.light}", finding.name, finding.says)]
        for finding in found
    ]
    todo = [f"{escape_markdown(finding.name)}: {_with_code(finding.todo)}" for finding in found if finding.todo]
    listed = ["To do:\n\n" + "\n".join(f"- {line}" for line in todo)] if todo else []
    return [markdown_table(Table(["light", "what", "found"], rows, n_names=3)), *listed]


def _with_code(text: str) -> str:
    """Markdown of a text whose commands stand between backticks."""
    pieces = one_line(text).split("`")
    # the dots keep the spaces at a piece's ends
    return "".join(f"`{piece}`" if i % 2 else escape_markdown(f".{piece}.")[1:-1] for i, piece in enumerate(pieces))


def _listed(texts: list[str]) -> str:
    return "\n".join(f"- {escape_markdown(text)}" for text in texts)


def _cell(value: object, is_name: bool) -> Cell:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell(EMPTY, is_name=is_name)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", float(value), is_name=is_name)
    if isinstance(value, int):
        return Cell(f"{value:,}", float(value), is_name=is_name)
    if isinstance(value, float):
        return Cell(f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}", value, is_name=is_name)
    return Cell(str(value), is_name=is_name)
