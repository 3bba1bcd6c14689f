"""Cards of public data sets: where each is, its licence, how its folders or columns become a manifest, what is known to
be wrong with it, how to cite it. A card is one YAML file; a new one needs no code.
"""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from maibench.config import read_yaml
from maibench.errors import MaibenchError

FOLDER = Path(__file__).parent
"""The cards that come with the package, one NAME.yaml each."""
PLACEHOLDER = re.compile(r"\{(\w+)\}")

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Link = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
Month = Annotated[str, StringConstraints(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
Split = Literal["train", "validation", "test"]
_STRICT = ConfigDict(extra="forbid", frozen=True)


class Problem(BaseModel):
    """What is known to be wrong with a data set, or is easily overlooked, and where that stands."""

    model_config = _STRICT

    says: Text
    link: Link | None = None


class HubData(BaseModel):
    """A repository of the Hugging Face Hub. columns: what its columns mean, as for --columns; empty where another card
    says it, or their names do."""

    model_config = _STRICT

    repo: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    config: str = ""
    columns: str = ""

    @property
    def source(self) -> str:
        """The SOURCE that reads it."""
        return f"hf:{self.repo}" + (f":{self.config}" if self.config else "")


class Place(BaseModel):
    """Where some of a data set's images lie, and what that says of them.

    path: folders and a file's name without its ending, as in `**/{generator}/{label}/{stem}`: `*` is any text, `**` any
    number of folders, `{word}` any text with a name. `{label}`, `{split}` and `{generator}` are read as the card says.
    label, split, generator, source: what the path does not say; the last two may use its words ("{platform}:{stem}").
    """

    model_config = _STRICT

    path: Text
    label: Literal["real", "synthetic"] | None = None
    split: Split | None = None
    generator: str = ""
    source: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @property
    def words(self) -> list[str]:
        """The names in braces in the path."""
        return PLACEHOLDER.findall(self.path)

    @model_validator(mode="after")
    def _complete(self) -> Place:
        words = self.words
        if len(set(words)) < len(words):
            raise ValueError(f"'{self.path}' has one word in braces twice")
        if self.path.endswith("/") or "**" in self.path.rsplit("/", 1)[-1]:
            raise ValueError(f"'{self.path}' does not end in the name of a file, such as * or {{stem}}")
        if (self.label is None) == ("label" not in words):
            raise ValueError(
                f"'{self.path}' has to say the label once: {{label}} in the path, or label: real/synthetic"
            )
        if self.label == "real" and self.generator:
            raise ValueError(f"'{self.path}' is real and has a generator")
        if self.label != "real" and not self.generator and "generator" not in words:
            raise ValueError(f"'{self.path}' says no generator: {{generator}} in the path, or generator: NAME")
        used = {*PLACEHOLDER.findall(self.generator), *PLACEHOLDER.findall(self.source)}
        if unknown := sorted(used - {*words, "stem"}):
            raise ValueError(f"'{self.path}' has no {{{unknown[0]}}}, which its generator or source uses")
        return self


class DatasetCard(BaseModel):
    """What is known of a data set; what is not known is said so.

    name: that of its file. size: in words. access: how to get it where it cannot just be downloaded, or the command
    that makes it. layout: its places, the first that fits counts. labels, splits: what folders called so mean.
    generators: the folders that `{generator}` stands for, besides those of renames (none in either: any). renames:
    folder -> name.
    released: {generator: "YYYY-MM"} for those that generators.yaml does not know. cite: BibTeX.
    """

    model_config = _STRICT

    name: Text
    title: Text
    homepage: Annotated[str, StringConstraints(pattern=r"^(https?://\S+|this package: \S+)$")]
    licence: Text
    size: Text
    access: str = ""
    hub: tuple[HubData, ...] = ()
    layout: tuple[Place, ...] = ()
    labels: dict[str, Literal["real", "synthetic"]] = {"0_real": "real", "1_fake": "synthetic"}
    splits: dict[str, Split] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
    generators: tuple[str, ...] = ()
    renames: dict[str, str] = {}
    released: dict[str, Month] = {}
    problems: tuple[Problem, ...] = Field(min_length=1)
    cite: Annotated[str, StringConstraints(pattern=r"^@\w+\{", strip_whitespace=True)]

    @model_validator(mode="after")
    def _reachable(self) -> DatasetCard:
        if not (self.layout or self.hub or self.access):
            raise ValueError("needs a layout (folders), hub (repositories) or access (how to get it)")
        return self

    @property
    def read_as(self) -> str:
        """What it comes as, in few words."""
        ways = [*(["folders"] if self.layout else []), *(hub.source for hub in self.hub)]
        return ", ".join(ways[:2]) + (f" and {len(ways) - 2} more" if len(ways) > 2 else "") if ways else "made here"


def card_names() -> list[str]:
    """The names of the cards that come with the package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def find_card(name: str | None = None, file: Path | None = None) -> DatasetCard:
    """A card by its name, or the user's own by its file.

    Raises MaibenchError where there is none, for both or neither, and for a file that is not a card.
    """
    if (name is None) == (file is None):
        raise MaibenchError("name one data set: a NAME of 'maibench data list', or --card FILE.yaml")
    if file is not None:
        return read_card(file)
    if name not in card_names():
        near = difflib.get_close_matches(str(name).lower(), card_names(), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise MaibenchError(
            f"unknown data set '{name}': {hint}'maibench data list' shows all; one of your own: --card FILE.yaml"
        )
    return read_card(FOLDER / f"{name}.yaml")


def read_card(file: Path) -> DatasetCard:
    """The card in a file. Raises MaibenchError, with the first thing that is wrong in it."""
    try:
        return DatasetCard.model_validate({"name": file.stem, **read_yaml(file)})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(DatasetCard.model_fields)
        hint = (
            f"; a card has {known}"
            if first["type"] in ("missing", "extra_forbidden") and len(first["loc"]) == 1
            else ""
        )
        message = first["msg"].removeprefix("Value error, ")
        raise MaibenchError(f"{file}: not a data set's card: {key + ': ' if key else ''}{message}{hint}") from error


def card_for_hub(repo: str) -> str | None:
    """What the columns of a repository of the Hub mean ("OWNER/NAME" -> as for --columns); None without a card."""
    return _hub_columns().get(repo.strip().casefold())


@functools.cache
def _hub_columns() -> dict[str, str]:
    cards = [read_card(FOLDER / f"{name}.yaml") for name in card_names()]
    return {hub.repo.casefold(): hub.columns for card in cards for hub in card.hub if hub.columns}
