"""What the tables of a report say: the main table, the lines under it, and all of them in every format.

A summary's frames have the columns of DESIGN.md, section 7; `run` is the parsed run.json, `{}` where predictions
were made elsewhere; `style` is how the tables are asked for, by default as the run asked. What cannot be computed is
an en dash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from maibench.config import TableConfig
from maibench.errors import MaibenchError
from maibench.evaluation.tables.formats import (
    LATEX_NEEDS,
    escape_markdown,
    latex_table,
    markdown_table,
    one_line,
)
from maibench.evaluation.tables.generator_tables import GENERATOR_TITLES, generator_notes, generator_tables, on_paper
from maibench.evaluation.tables.main_table import COLUMNS, main_table, shown_columns
from maibench.evaluation.tables.paper_tables import Titled, comparisons_table, paper_tables, robustness_table
from maibench.evaluation.tables.reported import reported
from maibench.evaluation.tables.shown import (
    PLAIN,
    arranged,
    detectors,
    is_empty,
    main_rows,
    per_generator_rows,
    perturbation_suffix,
    rate,
    shown_perturbation,
    was_seen,
    with_interval,
)
from maibench.evaluation.tables.terminal_tables import TerminalTable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from maibench.evaluation.statistics.frames import Summary

__all__ = [
    "DISCLAIMER", "GENERATOR_TITLES", "Titled", "detectors", "generator_tables", "headline", "is_empty", "latex",
    "legend", "main_table", "markdown", "on_paper", "paper_tables", "per_generator_rows", "perturbation_suffix", "rate",
    "remarks", "reported", "shown_perturbation", "terminal", "was_seen", "with_interval",
]  # fmt: skip

DISCLAIMER = (
    "A score is no evidence by itself that an image is synthetic or real: it is the estimate of a model that errs "
    "as often as this report says on these images, and unknown often on others."
)


def terminal(summary: Summary, run: dict, style: TableConfig | None = None) -> RenderableType:
    """The tables that fit a terminal and the lines under them, for `rich.console.Console.print`, from about 60 columns:
    the main one, AUC per generator, robustness and comparisons."""
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    style = style or style_of(run)
    summary = arranged(summary, style)
    tables = [
        *(
            Titled(metric, GENERATOR_TITLES[metric] + perturbation_suffix(summary), table)
            for metric, table in generator_tables(summary, style).items()
            if metric == "auc"
        ),
        robustness_table(summary, style),
        comparisons_table(summary, style),
    ]
    parts: list[RenderableType] = [TerminalTable(main_table(summary, style), headline(summary, run))]
    for item in tables:
        parts += [Text(""), TerminalTable(item.table, item.title)] if item.table.rows else []
    grid = Grid.grid(padding=(0, 1))
    of_cards = [line for entry in run.get("detectors") or [] for line in reported(summary, entry, run)]
    for line in legend(summary) + remarks(summary, run, style) + of_cards:
        grid.add_row("•", Text(one_line(line)))
    return Group(*parts, Text(""), grid)


def markdown(summary: Summary, run: dict, style: TableConfig | None = None) -> str:
    """table.md: every table under its title, the main one first, each with its notes as a list."""
    style = style or style_of(run)
    summary = arranged(summary, style)
    tables = [Titled("", headline(summary, run), main_table(summary, style), remarks(summary, run, style))]
    tables += paper_tables(summary, run, style)
    return markdown_of(tables)


def latex(summary: Summary, run: dict, style: TableConfig | None = None) -> str:
    r"""table.tex: floats to `\input` in a document that has `\usepackage{booktabs,siunitx}`.

    Labels: `tab:maibench` (the main table, over two columns), `tab:maibench-accuracy`, `tab:maibench-auc` and so on.
    """
    style = style or style_of(run)
    summary = arranged(summary, style)
    caption = headline(summary, run) + "."
    notes = remarks(summary, run, style)
    floats = [latex_table(main_table(summary, style), caption, "tab:maibench", notes, "table*")]
    return latex_of(paper_tables(summary, run, style), "tab:maibench", floats)


def markdown_of(tables: list[Titled]) -> str:
    """Tables in GitHub Markdown; notes that the next table has too stand under that one."""
    parts = []
    for item, following in zip(tables, [*tables[1:], None], strict=True):
        parts += [
            f"**{escape_markdown(item.title)}**",
            markdown_table(on_paper(item.table) if _is_wide(item) else item.table),
        ]
        if item.notes and (following is None or list(following.notes) != list(item.notes)):
            parts.append("\n".join(f"- {escape_markdown(note)}" for note in item.notes))
    return "\n\n".join(parts) + "\n"


def latex_of(tables: list[Titled], label: str, before: list[str]) -> str:
    """Tables as floats labelled `<label>-<key>`, behind others."""
    floats = [
        latex_table(
            on_paper(item.table) if _is_wide(item) else item.table, f"{item.title}.", f"{label}-{item.key}", item.notes
        )
        for item in tables
    ]
    return LATEX_NEEDS + "\n\n".join([*before, *floats]) + "\n"


def style_of(run: dict, changes: dict | None = None) -> TableConfig:
    """How a run asked for its tables, with `changes` on top; raises MaibenchError where its run.json says what is
    none."""
    try:
        return TableConfig.model_validate({**((run.get("config") or {}).get("table") or {}), **(changes or {})})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise MaibenchError(f"run.json: config.table.{key}: {first['msg']}") from error


def _is_wide(item: Titled) -> bool:
    return item.key in GENERATOR_TITLES


# --- the lines around them


def headline(summary: Summary, run: dict) -> str:
    """What was compared on what: "2 detectors on demo, test split: 120 images scored (60 real, 60 synthetic)"."""
    data, rows = run.get("data") or {}, summary.metrics.to_dict("records")
    names = detectors(summary)
    text = f"{len(names)} detector" + ("s" if len(names) != 1 else "")
    if name := data.get("name") or data.get("source"):
        text += f" on {name}"
    if data.get("split"):
        text += f", {data['split']} split"
    if rows:
        most = max(rows, key=lambda row: row["n"])
        n, real, synthetic = (int(most[c]) for c in ("n", "n_real", "n_synthetic"))
        fewest = int(min(row["n"] for row in rows))
        text += f": {n:,} images scored ({real:,} real, {synthetic:,} synthetic)"
        text += f", by some detectors only {fewest:,}" if fewest < n else ""
    return one_line(text)


legend = generator_notes


def remarks(summary: Summary, run: dict, style: TableConfig = PLAIN) -> list[str]:
    """The lines under the main table: thresholds, intervals, a red audit, what was asked, the summary's notes."""
    rows = main_rows(summary)
    names = shown_columns(rows, style)
    lines = []
    if at_half := [COLUMNS[name].header for name in ("accuracy", "balanced_accuracy", "tpr", "tnr") if name in names]:
        lines.append(f"{', '.join(at_half)} at P = 0.5")
    if "fitted" in names and any(not is_empty(row.get("accuracy_fitted")) for row in rows):
        lines.append(
            "fitted: accuracy at the threshold in brackets, fitted for balanced accuracy on the undisturbed validation "
            "split alone"
        )
    if {"seen_auc", "unseen_auc"} & set(names):
        lines.append("AUC seen, unseen: generators that the detector was trained on, by its card, and all others")
    methods = list(dict.fromkeys(row["interval"] for row in rows if not is_empty(row["accuracy_lo"])))
    if methods and style.intervals:
        lines.append(f"in square brackets, 95 % intervals{_methods(methods)}")
    return lines + _audited(run) + _asked(run) + list(summary.notes)


def _methods(texts: list[str]) -> str:
    """ ": bootstrap of 50 sources, 1000 resamples"; in brackets where accuracy and AUC have one each, as in "accuracy:
    Wilson, 120 images; AUC: DeLong, 120 images"."""
    if not any(": " in text for text in texts):
        return ": " + "; ".join(texts)
    return " (" + ") or (".join(text.replace(": none: ", ": none, ") for text in texts) + ")"


def _audited(run: dict) -> list[str]:
    """That the data's audit is red."""
    if not (red := run.get("audit")):
        return []
    return [f"the audit of the data is red, see audit.json before these numbers are trusted: {', '.join(red)}"]


def _asked(run: dict) -> list[str]:
    """Which question the detectors that are asked one were asked."""
    asked: dict[tuple[str, str], list[str]] = {}
    for entry in run.get("detectors") or []:
        facts = entry.get("facts") or {}
        if question := facts.get("question"):
            asked.setdefault((question, facts.get("synthetic", "yes")), []).append(str(entry.get("label")))
    return [f'asked "{question}", {word} meaning synthetic: {", ".join(n)}' for (question, word), n in asked.items()]
