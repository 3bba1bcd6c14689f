"""What `--perturb` may name: perturbations, attacks, and suites of them (`social`, or a YAML file of one's own)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maibench.config import read_yaml
from maibench.datasets.attack_names import is_attack, known_attacks, parse_attack
from maibench.datasets.perturb import UnknownPerturbation, parse_perturbation
from maibench.errors import MaibenchError

FOLDER = Path(__file__).parent / "suites"
"""The suites that come with the package, one NAME.yaml each."""


TAKEN = ("all", "attack")
"""What a report calls everything that no suite covers, and the attacks."""


class Suite(BaseModel):
    """A named list of perturbations. description: what it stands for. references: where its settings are from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    perturbations: tuple[str, ...] = Field(min_length=1)
    description: str = ""
    references: tuple[str, ...] = ()


def suite_names() -> list[str]:
    """The names of the suites that come with the package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def suite_name(text: str) -> str | None:
    """What the suite that is asked for is called: its name, or its file's without the ending; None for no suite."""
    text = text.strip()
    if text in suite_names():
        return text
    return Path(text).stem if text.endswith((".yaml", ".yml")) else None


def read_suite(text: str) -> Suite:
    """A suite by its name or file; its perturbations are under the names that tables show, none of them twice.

    Raises MaibenchError where there is none, and for a file that holds anything else.
    """
    text = text.strip()
    file = FOLDER / f"{text}.yaml" if text in suite_names() else Path(text)
    try:
        suite = Suite.model_validate(read_yaml(file))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MaibenchError(
            f"{file}: {key}: {first['msg']}; a suite has the keys perturbations, description, references"
        ) from error
    try:
        names = tuple(dict.fromkeys(_shown_name(name) for name in suite.perturbations))
    except MaibenchError as error:
        raise MaibenchError(f"{file}: {error}") from error
    return suite.model_copy(update={"perturbations": names})


def expand(texts: Iterable[str]) -> list[str]:
    """Perturbations, attacks and suites -> the names of perturbations and attacks, each once, in the order of the
    request; "none" first where it was not asked for elsewhere.

    Raises MaibenchError for an unknown name, and says what there is; for two suites of one name.
    """
    names: dict[str, None] = {}
    files: dict[str, str] = {}
    for text in texts:
        name = suite_name(text)
        if name is None:
            names[_shown_name(text)] = None
            continue
        if name in TAKEN:
            raise MaibenchError(
                f"{text.strip()}: a report uses the name '{name}' for a suite of its own; rename the file"
            )
        if files.setdefault(name, text.strip()) != text.strip():
            raise MaibenchError(f"two suites are called '{name}': {files[name]} and {text.strip()}; rename a file")
        names.update(dict.fromkeys(read_suite(text).perturbations))
    # thresholds are fitted on undisturbed validation images, and a curve starts there
    return list(names) if "none" in names else ["none", *names]


def named_suites(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The suites among what is asked for, and the perturbations of each. Raises MaibenchError as `expand`."""
    return {name: read_suite(text).perturbations for text in texts if (name := suite_name(text)) is not None}


def _shown_name(text: str) -> str:
    if is_attack(text):
        name = parse_attack(text)
        if name.made_on:
            raise MaibenchError(f"attack '{text}': every detector of the run is attacked; ask for {name.request}")
        return str(name)
    try:
        return parse_perturbation(text).name
    except UnknownPerturbation as error:
        near = difflib.get_close_matches(text.strip(), suite_names(), n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        suites = ", ".join(suite_names())
        raise UnknownPerturbation(
            f"{error}; attacks {known_attacks()}; suites {suites}{hint}, or a file that ends in .yaml"
        ) from error
