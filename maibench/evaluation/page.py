"""report.html: the whole report in one file that opens offline, on a phone or a desktop."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from maibench.evaluation.table_formats import Cell
from maibench.evaluation.tables import (
    DISCLAIMER,
    GENERATOR_TITLES,
    generator_tables,
    headline,
    legend,
    main_table,
    on_paper,
    perturbation_suffix,
    remarks,
    reported,
)

if TYPE_CHECKING:
    from maibench.evaluation.summary import Summary

# (name of the SVG in the report's folder, heading, what a screen reader says)
_FIGURES = (
    ("roc", "ROC", "ROC curves of all detectors over all generators"),
    ("generators", "ROC per generator", "ROC curves of all detectors, one panel a generator"),
)

# What run.json says about where the numbers come from, in the order of the page.
_PROVENANCE = (
    ("data", ("data", "source")),
    ("split", ("data", "split")),
    ("data fingerprint", ("data", "fingerprint")),
    ("code commit", ("git_commit",)),
    ("versions", ("versions",)),
    ("machine", ("machine",)),
    ("seeds", ("seeds",)),
    ("seconds", ("seconds",)),
)


def write_page(summary: Summary, run: dict, folder: str | Path) -> Path:
    """Write report.html into `folder`, with the figures roc.svg and generators.svg that lie there; returns its path.

    One file without scripts and without requests: a content security policy forbids both. Everything that comes
    from data or cards is escaped. `run` is the parsed run.json, `{}` where there is none.
    """
    import jinja2

    folder = Path(folder)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("maibench.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["heat"] = heat
    text = environment.get_template("report.html.j2").render(
        headline=headline(summary, run),
        command=shlex.join(str(word) for word in run.get("command") or []),
        main=main_table(summary),
        remarks=remarks(summary, run),
        generators=[
            (GENERATOR_TITLES[metric] + perturbation_suffix(summary), on_paper(table))
            for metric, table in generator_tables(summary).items()
        ],
        legend=legend(summary),
        figures={name: figure for name, *_ in _FIGURES if (figure := _figure(name, folder))},
        cards=[_card(summary, entry) for entry in run.get("detectors") or []],
        provenance=[(title, text) for title, keys in _PROVENANCE if (text := _plain(_at(run, keys)))],
        disclaimer=DISCLAIMER,
    )
    path = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG document as an element of an HTML page: no prolog, metadata or comments, every id prefixed.

    Two figures of matplotlib share ids such as `axes_1`; without a prefix the second would use the first's shapes.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    # A style sheet of an inlined SVG rules the whole page unless it is told not to.
    return re.sub(r'(<style type="text/css">)\s*\*', rf"\1.{prefix} *", svg)


def heat(cell: Cell) -> str:
    """The style of a rate's cell: blue the further above 0.5, orange the further below, both pale."""
    if math.isnan(cell.value):
        return ""
    strength = min(1.0, abs(cell.value - 0.5) * 2) * 0.42
    colour = "0, 114, 178" if cell.value >= 0.5 else "230, 159, 0"
    return f"background-color: rgba({colour}, {strength:.2f})"


def _figure(name: str, folder: Path) -> dict | None:
    from markupsafe import Markup

    path = folder / f"{name}.svg"
    if not path.is_file():
        return None
    title, description = next((title, text) for n, title, text in _FIGURES if n == name)
    svg = inline_svg(path.read_text(encoding="utf-8"), name)
    # Only what figures.py wrote is trusted here: it draws text as shapes, so no name of the data is in it.
    return {"name": name, "title": title, "description": description, "svg": Markup(svg)}


def _card(summary: Summary, entry: dict) -> dict:
    card = entry.get("card") or {}
    parameters, trained_on = entry.get("parameters"), card.get("trained_on")
    facts = [
        ("model", card.get("name")),
        ("asked for as", entry.get("spec")),
        ("parameters", f"{parameters:,}" if isinstance(parameters, int) else parameters),
        ("trained on", "not declared" if trained_on is None else trained_on or "none listed"),
        ("licence", card.get("licence") or "not declared"),
        ("reference", card.get("reference")),
        ("weights", card.get("weights")),
        ("sha256 of the weights", card.get("sha256")),
        *(entry.get("facts") or {}).items(),
        ("notes", card.get("notes")),
        ("fingerprint", entry.get("fingerprint")),
    ]
    return {
        "label": entry.get("label"),
        "facts": [(title, text) for title, value in facts if (text := _plain(value))],
        "reported": reported(summary, entry),
    }


def _at(run: dict, keys: tuple[str, ...]) -> object:
    value: object = run
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _plain(value: object) -> str:
    """A value of JSON as text for people; empty for what is empty."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(v)}" for key, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(v) for v in value)
    return f"{value:.1f}" if isinstance(value, float) else str(value)
