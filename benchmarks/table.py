"""Where the ratios are kept: results.json, and the table between two marks in README.md."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.measure import Ratio

HERE = Path(__file__).parent
BEGIN, END = "<!-- ratios: made by `make bench` -->", "<!-- end of ratios -->"
PACKAGES = ("torch", "torchvision", "numpy", "pillow", "onnxruntime", "openvino", "ray")


def keep(name: str, title: str, rows: Sequence[Ratio], seconds: float, folder: Path = HERE) -> None:
    """Put one benchmark's rows in place of its earlier ones; those of others stay, with their own machine and day."""
    file = folder / "results.json"
    stored: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    stored[name] = {
        "title": title,
        "date": date.today().isoformat(),
        "machine": machine(),
        "seconds": round(seconds, 1),
        "rows": [
            asdict(row) | {"ratio": None if row.ratio is None else float(f"{row.ratio:.4g}"), "verdict": row.verdict}
            for row in rows
        ],
    }
    file.write_text(json.dumps(dict(sorted(stored.items())), indent=1, ensure_ascii=False) + "\n")
    readme = folder / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n\n{markdown(stored)}\n{END}{rest.split(END)[1]}")


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory, and versions; nothing that names the machine or its owner."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def text(rows: Sequence[Ratio]) -> str:
    """The table for the terminal."""
    cells = [("ratio", "held against", "", "what", "figures"), *(_cells(row) for row in rows)]
    wide = [max(len(row[at]) for row in cells) for at in range(4)]
    return "\n".join(
        f"{row[0]:>{wide[0]}}  {row[1]:>{wide[1]}}  {row[2]:{wide[2]}}  {row[3]:{wide[3]}}  {row[4]}".rstrip()
        for row in cells
    )


def markdown(stored: dict[str, Any]) -> str:
    """The table for README.md, over the machines that it was measured on."""
    machines: list[str] = []
    lines = ["| benchmark | what | ratio | held against | | figures |", "|---|---|---:|---:|---|---|"]
    for name, kept in sorted(stored.items()):
        says = _says(kept["machine"])
        if says not in machines:
            machines.append(says)
        for row in kept["rows"]:
            cells = _cells(Ratio(row["name"], row["ratio"], row["floor"], row["detail"]))
            ratio, floor, verdict, what, figures = (cell.replace("|", "\\|") for cell in cells)
            lines.append(
                f"| {name}{_mark(machines.index(says))} | {what} | {ratio} | {floor} | {verdict} | {figures} |"
            )
    notes = [f"{_mark(at) or 'Measured'} on {says}.".strip() for at, says in enumerate(machines)]
    return "\n".join([*notes, "", *lines, ""])


def _cells(row: Ratio) -> tuple[str, str, str, str, str]:
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}" if row.ratio < 100 else f"{row.ratio:,.0f}"
    return ratio, "" if row.floor is None else f"{row.floor:g}", row.verdict, row.name, row.detail


def _mark(at: int) -> str:
    return "" if at == 0 else f" ({at})"


def _says(facts: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {facts[name]}" for name in PACKAGES if name in facts)
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB, Python {facts['python']}, {packages}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
