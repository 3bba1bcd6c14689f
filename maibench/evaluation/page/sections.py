"""What stands on the page, section by section; how it looks is the template's business."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maibench.errors import MaibenchError
from maibench.evaluation.audit.write import read_audit
from maibench.evaluation.figures import FIGURES, Picture
from maibench.evaluation.page.audit import report_blocks
from maibench.evaluation.page.blocks import Block, Section
from maibench.evaluation.page.curves import counts_table
from maibench.evaluation.page.gallery import gallery
from maibench.evaluation.page.pictures import data_uri, inline_svg
from maibench.evaluation.tables.formats import Cell, Table
from maibench.evaluation.tables.report_tables import (
    GENERATOR_TITLES,
    Titled,
    detectors,
    main_table,
    on_paper,
    paper_tables,
    rate,
    remarks,
    with_interval,
)
from maibench.evaluation.tables.shown import number

if TYPE_CHECKING:
    from maibench.config import TableConfig
    from maibench.evaluation.statistics.frames import Summary

# A figure of more characters than this is shown as its PNG.
_LARGEST_SVG = 600_000

# What run.json says about where the numbers come from, in the order of the page.
_PROVENANCE = (
    ("data", ("data", "source")),
    ("split", ("data", "split")),
    ("data fingerprint", ("data", "fingerprint")),
    ("code commit", ("git_commit",)),
    ("versions", ("versions",)),
    ("machine", ("machine",)),
    ("seeds", ("seeds",)),
    ("resamples", ("config", "resamples")),
    ("seconds", ("seconds",)),
)


def sections(summary: Summary, run: dict, folder: Path, data: dict, style: TableConfig) -> list[Section]:
    """The page's sections in its order, without those that have nothing to show; `data`: what `curves` gave,
    `style`: of the tables.

    Raises MaibenchError for a figure that maibench did not draw, and for a gallery or an audit that cannot be read.
    """
    tables, pictures = {item.key: item for item in paper_tables(summary, run, style)}, _Pictures(folder)
    shots = gallery(folder, detectors(summary))
    cards = [_card(entry) for entry in run.get("detectors") or []]
    facts = [(title, text) for title, keys in _PROVENANCE if (text := _plain(_at(run, keys)))]

    def grids(*names: str) -> list[Block]:
        return [Block("grid", item.table, item.title, item.notes) for name in names if (item := tables.pop(name, None))]

    found = [
        Section("results", "Results", [_main(summary, run, style)]),
        Section(
            "roc",
            "ROC and thresholds",
            [
                *_explorer(data),
                *_folded("The same as figures", pictures("roc", "roc_low", "generators")),
                *grids("thresholds"),
            ],
        ),
        Section(
            "generators",
            "Generators",
            [
                *_side_by_side(tables),
                *grids("seen", "spread"),
                *_folded("Heat map as a figure", pictures("heatmap")),
                *pictures("released"),
            ],
        ),
        Section(
            "comparisons",
            "Comparisons",
            [*grids("comparisons"), *pictures("comparisons"), *grids("ranks"), *pictures("ranks")],
        ),
        Section(
            "robustness",
            "Robustness",
            [
                *grids("robustness"),
                *pictures("robustness", "robustness_dots"),
                *_points(summary, style),
                *grids("transfer-accuracy", "transfer-auc"),
                *pictures("transfer"),
            ],
        ),
        Section(
            "calibration",
            "Scores and calibration",
            [*grids("calibration"), *pictures("reliability", "histograms")],
        ),
        Section("coverage", "Risk and coverage", [*grids("coverage"), *pictures("risk_coverage"), *_unsure(summary)]),
        Section("reported", "Reported and measured", grids("reported")),
        Section("cost", "Cost", pictures("cost")),
        Section("gallery", "Gallery", [Block("gallery", shots)] if shots else []),
        Section("audit", "Data audit", report_blocks(audit) if (audit := read_audit(folder)) else []),
        Section("more", "More", [*grids(*tables), *pictures(*pictures.left)]),
        Section("detectors", "Detectors", [Block("cards", cards)] if cards else []),
        Section(
            "provenance",
            "Where the numbers come from",
            [*([Block("facts", facts)] if facts else []), *_lines([_BESIDE] if pictures.shown else [])],
        ),
    ]
    return [section for section in found if section.blocks]


_BESIDE = "Every figure lies beside this page as SVG, PNG and PDF, and every table as CSV."


def _main(summary: Summary, run: dict, style: TableConfig) -> Block:
    return Block("grid", main_table(summary, style), notes=remarks(summary, run, style))


def _side_by_side(tables: dict[str, Titled]) -> list[Block]:
    """The tables per generator, shaded, and their notes once."""
    there = [tables.pop(metric) for metric in GENERATOR_TITLES if metric in tables]
    if not there:
        return []
    shaded = [Block("shaded", on_paper(item.table), item.title) for item in there]
    return [Block("pair", shaded, notes=there[0].notes)]


def _points(summary: Summary, style: TableConfig) -> list[Block]:
    """Every point of the robustness curves."""
    names, metrics = ("detector", "suite", "family", "perturbation"), ("accuracy", "auc")

    def rate_cell(row: dict, metric: str) -> Cell:
        return Cell(with_interval(row, metric, style.precision, style.intervals), number(row[metric]))

    rows = [
        [*(Cell(str(row[n]), is_name=True) for n in names), *(rate_cell(row, metric) for metric in metrics)]
        for row in summary.robustness.to_dict("records")
    ]
    table = Table([*names, "accuracy", "AUC"], rows, n_names=len(names))
    return _folded(f"Every perturbation ({len(rows)} rows)", [Block("grid", table)] if rows else [])


def _unsure(summary: Summary) -> list[Block]:
    """How often a detector had little mass on yes and no, of those that ever did."""
    rows = [
        [
            *(Cell(str(row[name]), is_name=True) for name in ("detector", "perturbation")),
            *(Cell(f"{row[name]:.0f}", row[name]) for name in ("n_unsure", "n")),
            Cell(rate(row["n_unsure"] / row["n"]), row["n_unsure"] / row["n"]),
        ]
        for row in summary.unsure.to_dict("records")
        if row["n_unsure"] > 0
    ]
    table = Table(["detector", "perturbation", "unsure", "of", "share"], rows, n_names=2)
    return [Block("grid", table, "Unsure answers: little mass on yes and no")] if rows else []


def _explorer(data: dict) -> list[Block]:
    return [Block("roc", {"table": counts_table(data), "has_curves": bool(data["generators"])})] if data else []


def _lines(lines: list[str]) -> list[Block]:
    return [Block("lines", lines)] if lines else []


def _folded(title: str, blocks: list[Block]) -> list[Block]:
    """Blocks behind their title until it is opened."""
    return [Block("fold", blocks, title)] if blocks else []


class _Pictures:
    """The figures of a folder, each shown once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.left = {picture.name: picture for picture in FIGURES}
        self.shown = 0

    def __call__(self, *names: str) -> list[Block]:
        """A block for each of these figures that lies in the folder."""
        there = [Block("figure", figure) for name in names if (figure := self._take(self.left.pop(name)))]
        self.shown += len(there)
        return there

    def _take(self, picture: Picture) -> dict | None:
        from markupsafe import Markup

        path = self._folder / f"{picture.name}.svg"
        if not path.is_file():
            return None
        figure = {"name": picture.name, "title": picture.title, "alt": picture.alt}
        png = path.with_suffix(".png")
        if path.stat().st_size > _LARGEST_SVG and png.is_file():
            return figure | {"png": data_uri(png)}
        try:
            return figure | {"svg": Markup(inline_svg(path.read_text(encoding="utf-8"), picture.name))}
        except ValueError as error:
            raise MaibenchError(f"{path}: not a figure that maibench drew ({error}); delete it") from error


def _card(entry: dict) -> dict:
    card = entry.get("card") or {}
    parameters, trained_on = entry.get("parameters"), card.get("trained_on")
    facts = [
        ("model", card.get("name")),
        ("asked for as", entry.get("spec")),
        ("parameters", f"{parameters:,}" if isinstance(parameters, int) else parameters),
        ("trained on", "not declared" if trained_on is None else trained_on or "none listed"),
        ("input", card.get("input_policy")),
        ("licence", card.get("licence") or "not declared"),
        ("reference", card.get("reference")),
        ("weights", card.get("weights")),
        ("sha256 of the weights", card.get("sha256")),
        *(entry.get("facts") or {}).items(),
        ("notes", card.get("notes")),
        ("fingerprint", entry.get("fingerprint")),
    ]
    return {
        "label": str(entry.get("label")),
        "facts": [(title, text) for title, value in facts if (text := _plain(value))],
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
