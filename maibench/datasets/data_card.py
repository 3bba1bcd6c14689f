"""The README.md of a data set that was made here: what the Hub shows, and what a reader has to know before use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from maibench.datasets.manifest import SPLITS, collections_of
from maibench.errors import MaibenchError
from maibench.files import write_text

FILE = "README.md"
COLLECTIONS = 30
"""Lines of the table of collections; the rest is one line."""
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_HUB_LICENCES = """
afl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0
cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
creativeml-openrail-m gfdl gpl gpl-2.0 gpl-3.0 isc lgpl-2.1 lgpl-3.0 mit mpl-2.0 ncsa odbl odc-by openrail openrail++
pddl unknown unlicense wtfpl zlib
"""
"""The identifiers that the Hub knows (huggingface.co/docs/hub/repositories-licenses), as far as data carries them."""
_LICENCE_WORDS = {"cc0": "cc0-1.0", "apache": "apache-2.0", "cc-zero": "cc0-1.0", "cc-by": "cc", "cc-by-sa": "cc"}


@dataclass(frozen=True)
class DataCard:
    """What the rows do not say of a data set.

    title: its name. summary: a sentence or two. made: how, a line a step. command: that made it. licence: of the whole
    (an identifier of the Hub, or words; empty: taken from the rows' `licence`). limits: what it must not be used for,
    or does not hold. tags: of the Hub, besides our own. data_files: split -> pattern of its files (empty: the images
    lie in the folder as they are). versions: of what made it, besides maibench's own (`versions_of`).
    """

    title: str
    summary: str
    made: Sequence[str] = ()
    command: str = ""
    licence: str = ""
    limits: Sequence[str] = ()
    tags: Sequence[str] = ()
    data_files: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def write_data_card(folder: Path, card: DataCard, rows: pd.DataFrame) -> Path:
    """Write README.md: the Hub's front matter, then tables of what `rows` (a manifest's) list. The same card and rows
    make the same bytes. Raises DiskError where it cannot be written."""
    file = folder / FILE
    write_text(file, data_card(card, rows))
    return file


def data_card(card: DataCard, rows: pd.DataFrame) -> str:
    """The text of `write_data_card`."""
    front = yaml.safe_dump(_front_matter(card, rows), sort_keys=False, allow_unicode=True, width=120)
    parts = [f"---\n{front}---\n", f"# {card.title}\n", f"{card.summary.rstrip('.')}.\n", _generators(rows)]
    parts += [_collections(rows, card.title), _licence_line(card, rows)]
    versions = {**versions_of("maibench"), **card.versions}
    made = [*card.made, *([f"Command: `{card.command}`"] if card.command else [])]
    made.append("Versions: " + ", ".join(f"{name} {number}" for name, number in sorted(versions.items())))
    parts.append("## How it was made\n\n" + "".join(f"- {line}\n" for line in made))
    if card.limits:
        parts.append("## Known limits\n\n" + "".join(f"- {line}\n" for line in card.limits))
    parts.append(_columns(rows))
    return "\n".join(parts)


def versions_of(*packages: str) -> dict[str, str]:
    """The installed versions of packages, by name; those that are not installed are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def read_front_matter(folder: Path) -> dict[str, Any]:
    """What the data card of a folder says to the Hub.

    Raises MaibenchError where there is no README.md, or it has no front matter.
    """
    file = folder / FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise MaibenchError(
            f"{file}: the data card cannot be read ({reason}); 'maibench data pack' writes a folder with one"
        ) from error
    found = re.match(r"---\r?\n(.*?\r?\n)---\r?\n", text, re.DOTALL)
    try:
        front = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise MaibenchError(f"{file}: its front matter is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(front, dict):
        raise MaibenchError(f"{file}: has no front matter (YAML between two lines of ---), so it is no data card")
    return front


def hub_licence(text: str) -> str | None:
    """The Hub's identifier of a licence that is written in words ("CC BY-SA 4.0" -> "cc-by-sa-4.0"); None where it has
    none."""
    name = re.sub(r"[\s_]+", "-", re.sub(r"\b(licen[cs]e|the|version|v(?=\d))", "", text.strip().lower())).strip("-")
    for candidate in (name, re.sub(r"-+", "-", name), f"{name}.0"):
        if candidate in _HUB_LICENCES.split():
            return candidate
    return _LICENCE_WORDS.get(name)


def _front_matter(card: DataCard, rows: pd.DataFrame) -> dict[str, Any]:
    front: dict[str, Any] = {"pretty_name": card.title, **_licence(_licences(card, rows))}
    front["task_categories"] = ["image-classification"]
    front["tags"] = sorted({"ai-generated-image-detection", "maibench", *card.tags})
    front["size_categories"] = [next((name for most, name in _SIZES if len(rows) < most), "n>10M")]
    if card.data_files:
        files = [{"split": split, "path": pattern} for split, pattern in card.data_files.items()]
        front["configs"] = [{"config_name": "default", "data_files": files}]
    return front


def _licences(card: DataCard, rows: pd.DataFrame) -> list[str]:
    """The licences of the data as they are written, "" for images without one."""
    if card.licence:
        return [card.licence]
    if "licence" not in rows:
        return [""]
    return sorted(rows["licence"].astype("string").fillna("").str.strip().unique().tolist())


def _licence(given: Sequence[str]) -> dict[str, Any]:
    """What the Hub is told. An image without a licence makes the whole unknown: it cannot be handed on."""
    if "" in given:
        return {"license": "unknown"}
    known = sorted({hub_licence(text) or "other" for text in given})
    if "other" not in known:
        return {"license": known[0] if len(known) == 1 else known}
    name = given[0] if len(given) == 1 else "several, as listed for each image"
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")}


def _licence_line(card: DataCard, rows: pd.DataFrame) -> str:
    if card.licence:
        return f"Licence: {card.licence}.\n"
    without = len(rows) if "licence" not in rows else int((rows["licence"].astype("string").fillna("") == "").sum())
    if without:
        return f"Licence: unknown for {without:,} of {len(rows):,} images; find it out before you hand them on.\n"
    return "The column `licence` names each image's licence.\n"


def _generators(rows: pd.DataFrame) -> str:
    counts = pd.crosstab(rows["generator"].astype(str), rows["split"].astype(str))
    counts = counts[[split for split in SPLITS if split in counts]]
    counts = counts.loc[sorted(counts.index, key=lambda name: (name != "real", name))]
    counts.loc["all"] = counts.sum()
    counts["all"] = counts.sum(axis=1)
    lines = [
        [str(name), *(f"{count:,}" for count in line)]
        for name, line in zip(counts.index, counts.to_numpy(), strict=True)
    ]
    return _table(["generator", *map(str, counts.columns)], lines)


def _collections(rows: pd.DataFrame, data: str) -> str:
    frame = pd.DataFrame({"collection": collections_of(rows, data).to_numpy()})
    frame["licence"] = rows["licence"].astype("string").fillna("").to_numpy() if "licence" in rows else ""
    counts = frame["collection"].value_counts()
    named = sorted(counts.index, key=lambda name: (-counts[name], name))
    licences = frame.drop_duplicates().groupby("collection")["licence"].agg(sorted)
    lines = [
        [name, f"{counts[name]:,}", "; ".join(text or "unknown" for text in licences[name])]
        for name in named[:COLLECTIONS]
    ]
    if rest := named[COLLECTIONS:]:
        lines.append([f"{len(rest):,} more", f"{int(counts[rest].sum()):,}", ""])
    return _table(["where the images come from", "images", "licence"], lines) + "\n" + _sources(rows)


def _sources(rows: pd.DataFrame) -> str:
    if "source" not in rows or (rows["source"].astype("string").fillna("") == "").any():
        return "Which images belong together (come from one photograph, prompt or scene) is not known of all.\n"
    splits = rows.groupby("source")["split"].nunique()
    shared = int((splits > 1).sum())
    leak = f"{shared:,} of them lie in more than one split, which is a leak" if shared else "none lies in two splits"
    return f"{len(splits):,} sources (photographs, prompts or scenes); {leak}.\n"


def _columns(rows: pd.DataFrame) -> str:
    return (
        '## Columns\n\n`label`: 0 real, 1 synthetic. `generator`: "real" or the generator\'s name. `source`: images '
        "that share it come from one photograph, prompt or scene. `image_id`: sha256 of the file's bytes.\n\n"
        f"All: {', '.join(f'`{column}`' for column in rows.columns)}.\n"
    )


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in [head, *lines]]
    rule = ["---", *("---" if cell == "licence" else "---:" for cell in head[1:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in [escaped[0], rule, *escaped[1:]])
