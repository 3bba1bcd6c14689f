"""report.html: the whole report in one file that opens offline, on a phone or a desktop."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from maibench.evaluation.page.blocks import Section
from maibench.evaluation.page.curves import curves
from maibench.evaluation.page.sections import sections
from maibench.evaluation.tables.formats import Cell, one_line
from maibench.evaluation.tables.report_tables import DISCLAIMER, headline, style_of
from maibench.evaluation.tables.shown import arranged
from maibench.files import make_folder, write_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from maibench.config import TableConfig
    from maibench.evaluation.statistics.frames import Summary

_UNITS = {"k": 1e3, "M": 1e6, "B": 1e9}


def write_page(summary: Summary, run: dict, folder: str | Path, style: TableConfig | None = None) -> Path:
    """Write report.html into `folder`, with the figures and the gallery that lie there; returns its path.

    One file without requests: its content security policy allows one script, by its hash, styles, and pictures inside
    the file. Everything that comes from data or cards is escaped; an SVG is taken apart and only what matplotlib draws
    is taken. `run` is the parsed run.json, `{}` where there is none; `style`: of the tables, None for the run's own.
    Raises MaibenchError for an SVG under the name of a figure that holds anything else, and for a gallery that cannot
    be read.
    """
    folder, style = Path(folder), style or style_of(run)
    # of the summary as it is: a detector has the colour of its place there in every figure
    data, summary = curves(summary), arranged(summary, style)
    command = shlex.join(str(word) for word in run.get("command") or [])
    found = sections(summary, run, folder, data, style)
    make_folder(folder)
    return write_sections(folder / "report.html", headline(summary, run), found, DISCLAIMER, command, data)


def write_sections(
    path: Path, headline: str, sections: list[Section], disclaimer: str, command: str = "", data: dict | None = None
) -> Path:
    """Write a page of these sections to `path` and return it; `data`: what its curves are drawn from."""
    from jinja2.utils import htmlsafe_json_dumps
    from markupsafe import Markup

    script = _asset("report.js")
    text = (
        _environment()
        .get_template("report.html.j2")
        .render(
            headline=headline,
            command=command,
            sections=sections,
            disclaimer=disclaimer,
            style=Markup(_asset("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
            data=htmlsafe_json_dumps(data or {}, allow_nan=False, separators=(",", ":")),
        )
    )
    # a path of the data may hold what UTF-8 has not
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))
    return path


def heat(cell: Cell) -> str:
    """The style of a rate's cell: blue the further above 0.5, orange the further below, both pale."""
    if math.isnan(cell.value):
        return ""
    strength = min(1.0, abs(cell.value - 0.5) * 2) * 0.42
    colour = "0, 114, 178" if cell.value >= 0.5 else "230, 159, 0"
    return f"background-color: rgba({colour}, {strength:.2f})"


def sort_key(cell: Cell) -> float | None:
    """The number by which a cell is sorted: its value, else what its text begins with ("4.83 M"); None without."""
    if cell.is_name:
        return None
    if not math.isnan(cell.value):
        return float(f"{cell.value:.6g}")
    number = re.match(r"(?:<\s*)?([-−+]?[\d,]*\.?\d+)(?: ([kMB])\b)?", cell.text)
    if number is None:
        return None
    return float(number[1].replace(",", "").replace("−", "-")) * _UNITS.get(number[2], 1.0)


def with_code(text: str) -> Markup:
    """A text whose commands stand between backticks; everything in it is escaped."""
    from markupsafe import Markup

    pieces = one_line(text).split("`")
    return Markup().join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(pieces))


def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("maibench.evaluation.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(heat=heat, sort_key=sort_key)
    environment.filters.update(one_line=one_line, with_code=with_code)
    return environment


def _asset(name: str) -> str:
    return (files("maibench.evaluation.page") / "templates" / name).read_text(encoding="utf-8")
