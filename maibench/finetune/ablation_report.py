"""The table and the figure of an ablation: means over seeds with intervals, and differences from its first point."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from maibench.evaluation.figures.drawing import drawable, save_pictures, style
from maibench.evaluation.tables.formats import EMPTY, LATEX_NEEDS, Cell, Table, latex_table, markdown_table
from maibench.files import write_text, write_whole

COLUMNS = ("point", "seed", "measure", "on", "value")
"""One row of ablation.csv; on: which generators and collections the measure is confined to, "" for all."""


def write_ablation(title: str, values: pd.DataFrame, missing: dict[str, str], out: Path) -> None:
    """Write ablation.csv (`COLUMNS`), summary.csv, table.md, table.tex, and, where there is something to show,
    ablation.svg, ablation.png and ablation.pdf. missing: {training: why it has no row}."""
    summary = summarise_ablation(values)
    for name, frame in (("ablation", values), ("summary", summary)):
        write_whole(out / f"{name}.csv", functools.partial(frame.to_csv, index=False, float_format="%.6g"))
    table = _table(summary)
    notes = [_legend(values), *(f"{training}: {why}" for training, why in missing.items())]
    lines = [f"**{title}**", "", markdown_table(table), "", *(f"- {note}" for note in notes)]
    write_text(out / "table.md", "\n".join(lines) + "\n")
    write_text(out / "table.tex", LATEX_NEEDS + latex_table(table, title, "tab:ablation", notes))
    if len(summary):
        _plot(title, values, summary, out)


def summarise_ablation(values: pd.DataFrame) -> pd.DataFrame:
    """One row a point and measure: n_seeds, mean, sd, lo and hi (95 % t interval over seeds), baseline (the mean of the
    first point by the same measure), difference from it, difference_lo and difference_hi (paired by seed).

    With one seed there is no interval: the cells are empty.
    """
    rows = []
    first = values["point"].iloc[0] if len(values) else ""
    for (point, measure, on), group in values.groupby(["point", "measure", "on"], sort=False):
        own = group.set_index("seed")["value"]
        of_first = values[(values["point"] == first) & (values["measure"] == measure) & (values["on"] == on)]
        baseline = of_first.set_index("seed")["value"]
        paired = (own - baseline).dropna() if point != first else own.iloc[:0]
        lo, hi = _interval(own)
        difference_lo, difference_hi = _interval(paired)
        rows.append(
            {
                "point": point,
                "measure": measure,
                "on": on,
                "n_seeds": int(own.notna().sum()),
                "mean": own.mean(),
                "sd": own.std(),
                "lo": lo,
                "hi": hi,
                "baseline": baseline.mean(),
                "difference": paired.mean(),
                "difference_lo": difference_lo,
                "difference_hi": difference_hi,
            }
        )
    return pd.DataFrame(rows)


def _interval(values: pd.Series) -> tuple[float, float]:
    known = values.dropna()
    if len(known) < 2:
        return math.nan, math.nan
    half = stats.t.ppf(0.975, len(known) - 1) * known.std() / math.sqrt(len(known))
    return known.mean() - half, known.mean() + half


def _table(summary: pd.DataFrame) -> Table:
    headers = ["point", "measure", "mean ± sd", "95 %", "first point", "difference", "95 %"]
    rows = []
    first = summary["point"].iloc[0] if len(summary) else ""
    others_on = set(summary["on"][summary["point"] != first]) - {""} if len(summary) else set()
    for row in summary.to_dict("records"):
        if row["point"] == first and row["on"] in others_on:
            continue  # it stands beside the point that it is the baseline of
        on = f": {row['on']}" if row["on"] else ""
        rows.append(
            [
                Cell(row["point"], is_name=True),
                Cell(f"{row['measure']}{on}", is_name=True),
                Cell(_number(row["mean"]) + ("" if pd.isna(row["sd"]) else f" ± {_number(row['sd'])}")),
                Cell(_range(row["lo"], row["hi"])),
                Cell(_number(row["baseline"])),
                Cell(_number(row["difference"], sign=True)),
                Cell(_range(row["difference_lo"], row["difference_hi"], sign=True)),
            ]
        )
    return Table(headers, rows, n_names=2)


def _legend(values: pd.DataFrame) -> str:
    seeds = values["seed"].nunique()
    return (
        f"Means over {seeds} seed{'s' * (seeds != 1)}; intervals are Student's t over seeds (what another seed would "
        "change, not what other images would); differences are paired by seed, against the first point."
    )


def _number(value: float, sign: bool = False) -> str:
    return EMPTY if pd.isna(value) else f"{value:+.3f}" if sign else f"{value:.3f}"


def _range(lo: float, hi: float, sign: bool = False) -> str:
    return EMPTY if pd.isna(lo) else f"[{_number(lo, sign)}, {_number(hi, sign)}]"


def _plot(title: str, values: pd.DataFrame, summary: pd.DataFrame, out: Path) -> None:
    """A panel a measure: a dot a seed, the mean with its interval, and the first point's mean by the same measure."""
    measures = list(dict.fromkeys(summary["measure"]))
    panels = {m: _lines(summary[summary["measure"] == m]) for m in measures}
    tallest = max(len(panel) for panel in panels.values())
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(3.2 * len(measures) + 1.2, 0.3 * tallest + 1.2), layout="constrained")
        figure.suptitle(drawable(title), fontsize=10)
        for axes, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
            panel = panels[measure]
            places = np.arange(len(panel))[::-1]
            for place, row in zip(places, panel.to_dict("records"), strict=True):
                seeds = values[
                    (values["point"] == row["point"]) & (values["measure"] == measure) & (values["on"] == row["on"])
                ]
                axes.plot(seeds["value"], [place] * len(seeds), "o", color="#0072B2", alpha=0.4, markersize=4)
                if not math.isnan(row["lo"]):
                    axes.plot([row["lo"], row["hi"]], [place, place], color="#0072B2", linewidth=1.2)
                axes.plot(row["mean"], place, "|", color="#0072B2", markersize=11, markeredgewidth=2)
                axes.plot(row["baseline"], place, "D", color="none", markeredgecolor="#D55E00", markersize=6)
            axes.set_yticks(places, [drawable(point) for point in panel["point"]])
            axes.set_ylim(-0.6, len(panel) - 0.4)
            axes.set_xlabel(drawable(measure))
            axes.grid(axis="x", color="#eeeeee", linewidth=0.6)
            axes.set_axisbelow(True)
        caption = (
            "dots: seeds; bar and line: their mean and its 95 % interval; diamond: the first point by the same measure"
        )
        figure.supxlabel(caption, fontsize=7, color="#444444")
        save_pictures(figure, out, "ablation")


def _lines(panel: pd.DataFrame) -> pd.DataFrame:
    """The rows of a panel; the first point has one line, under measures that only others have none."""
    first = panel["point"].iloc[0]
    confined = panel["on"].ne("").any()
    panel = panel[panel["point"].ne(first)] if confined and panel["point"].nunique() > 1 else panel
    return panel
