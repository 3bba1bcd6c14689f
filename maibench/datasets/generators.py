"""When generators came out, by their names in data sets."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import yaml

LISTED = Path(__file__).with_name("generators.yaml")


def release_date(name: str) -> str | None:
    """The month, "YYYY-MM", in which a generator came out, as generators.yaml defines it; None where that is not known.

    Letters and digits of the name or of an alias have to agree, without regard to case: "SD-1.4" is "sd1.4", while
    "vae-sd1.4", a reconstruction, is not.
    """
    return _dates().get(_key(name))


def release_dates(names: Iterable[str], listed: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The dates of those `names` that have one, in their order. listed: those that the data gives ("YYYY-MM" or
    "YYYY-MM-DD", by the name as it is there); they come before `release_date`, unless blank."""
    found = {name: str(listed.get(name) or "").strip() or release_date(name) for name in names}
    return {name: date for name, date in found.items() if date}


@functools.cache
def _dates() -> dict[str, str]:
    entries = yaml.safe_load(LISTED.read_text(encoding="utf-8"))
    return {
        _key(name): entry["released"] for title, entry in entries.items() for name in (title, *entry.get("aliases", []))
    }


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
