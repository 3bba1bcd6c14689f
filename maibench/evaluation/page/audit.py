"""What an audit found, as parts of a page: its own page has a section a part, a comparison's report has one for all."""

from __future__ import annotations

from typing import Any

from maibench.evaluation.audit.audit import Audit
from maibench.evaluation.audit.method import method
from maibench.evaluation.audit.parts import Finding, Part
from maibench.evaluation.audit.shown import SHAPES, by_light, counted, failures, grid_table, legend, not_green, remarks
from maibench.evaluation.page.blocks import Block, Section
from maibench.evaluation.page.pictures import data_uri_of

_DATA = (
    ("data", "name"),
    ("split", "split"),
    ("images listed", "listed"),
    ("images audited", "images"),
    ("real", "real"),
    ("synthetic", "synthetic"),
    ("could not be read", "failed"),
    ("sources", "sources"),
    ("data fingerprint", "fingerprint"),
    ("seed", "seed"),
    ("limit of the AUC", "limit_auc"),
    ("maibench", "maibench"),
)

_STRIP = "beside it, an AUC with its interval on a line from 0.5, chance, to 1"
_MOST_LINES = 8


def audit_sections(audit: Audit) -> list[Section]:
    """The sections of audit.html."""
    facts = [(title, _text(audit.data[key])) for title, key in _DATA if audit.data.get(key) not in (None, "")]
    found = [
        Section("summary", "Summary", [_summary(audit), *_short(audit), _method(audit)]),
        *(
            Section(part.name, part.title, [_lights(by_light(part)), *_grids(part), *_shots(part)])
            for part in audit.parts
        ),
        Section("unread", "Images that could not be read", _failures(audit)),
        Section("audited", "What was audited", [Block("facts", facts)]),
    ]
    return [section for section in found if section.blocks]


def report_blocks(audit: Audit) -> list[Block]:
    """The section of a comparison's report: of each part the first light and those not green; all else folded."""
    blocks = [_summary(audit)]
    for part in audit.parts:
        shown = [finding for finding in by_light(part) if finding is part.findings[0] or finding.light != "green"]
        rest = [finding for finding in by_light(part) if finding not in shown]
        blocks.append(_lights(shown, part.title))
        details = [*([_lights(rest)] if rest else []), *_grids(part), *_shots(part)]
        green = f"{len(rest)} more in green, " if rest else ""
        what = "tables and pictures" if part.shots else "tables"
        blocks.append(Block("fold", details, f"{part.title}: {green}{what}"))
    return [*blocks, _method(audit)]


def _summary(audit: Audit) -> Block:
    return Block("lines", [counted(audit), *remarks(audit), f"{legend()}; {_STRIP}"])


def _short(audit: Audit) -> list[Block]:
    """What is not green, in a few words: its section has all of them, and what to do."""
    found = [
        _light(finding) | {"says": _first(finding.says), "todo": "", "at": part.name}
        for part, finding in not_green(audit)
    ]
    green = sum(finding.light == "green" for finding in audit.findings)
    rest = [Block("lines", [f"{green:,} green: see the sections"])] if green else []
    return [*([Block("lights", found)] if found else []), *rest]


def _first(says: str) -> str:
    return says.partition(";")[0]


def _method(audit: Audit) -> Block:
    return Block("fold", [Block("facts", method(audit.data))], "How this was measured")


def _lights(findings: list[Finding], title: str = "") -> Block:
    return Block("lights", [_light(finding) for finding in findings], title)


def _light(finding: Finding) -> dict[str, Any]:
    shown: dict[str, Any] = {"shape": SHAPES[finding.light], "interval": None}
    value, lo, hi = finding.value, finding.lo, finding.hi
    if value is not None and lo is not None and hi is not None and 0 <= lo <= hi <= 1:
        shown["interval"] = {
            "left": _along(lo),
            "width": _along(hi) - _along(lo),
            "at": _along(value),
        }
    return {"light": finding.light, "name": finding.name, "says": finding.says, "todo": finding.todo, "at": "", **shown}


def _along(auc: float) -> float:
    """Where an AUC lies on a line from 0.5 to 1, in percent."""
    return 100 * min(1.0, max(0.0, 2 * auc - 1))


def _grids(part: Part) -> list[Block]:
    return [Block("grid", grid_table(grid), grid.title, grid.notes) for grid in part.grids]


def _shots(part: Part) -> list[Block]:
    """A picture's name is that of its part, its title the text for who cannot see it."""
    return [
        Block(
            "figure",
            {
                "name": f"audit-{part.name}-{number}",
                "title": shot.title,
                "alt": shot.title,
                "png": data_uri_of(shot.png, shot.title),
            },
            notes=[shot.caption] if shot.caption else [],
        )
        for number, shot in enumerate(part.shots, start=1)
    ]


def _failures(audit: Audit) -> list[Block]:
    listed = failures(audit)
    if len(listed) > _MOST_LINES:
        return [Block("fold", [Block("lines", listed)], f"{len(audit.failures):,} images")]
    return [Block("lines", listed)] if listed else []


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
