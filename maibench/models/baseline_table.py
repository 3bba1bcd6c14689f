"""The published detectors as one table of what their cards say; docs/baselines.md has it between its marks.

python -m maibench.models.baseline_table          # writes it there anew
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from maibench.models.card import Card
from maibench.models.registry import BUILT_IN, detector_class
from maibench.models.weights import BUNDLED

if TYPE_CHECKING:
    from maibench.models.base import Detector

PAGE = Path("docs/baselines.md")
START, END = "<!-- written from the cards -->\n", "<!-- end of the cards -->\n"
_NOT_PUBLISHED = ("attribution", "metadata", "timm")
_HEADERS = ("name", "what it is", "parameters", "what happens to an image", "paper and code", "weights")


def main() -> None:
    PAGE.write_text(with_table(PAGE.read_text()))
    print(f"wrote the table of {PAGE}")


def with_table(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n{table()}\n{END}{rest.partition(END)[2]}"


def table() -> str:
    """A row for each built-in detector that has been published, in Markdown."""
    rows = [_HEADERS, tuple("---" for _ in _HEADERS), *(_row(name) for name in BUILT_IN if name not in _NOT_PUBLISHED)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(name: str) -> tuple[str, ...]:
    """The cells of a detector."""
    cls = detector_class(name)
    bundled = (BUNDLED / f"{name}.json").is_file()
    card = cls.bundled_card() if bundled and "weights" in cls.loads else cls.card
    parameters = "fitted" if cls.fitted else f"{card.parameters or _count(cls):,}"
    texts = ("Bundled, trained here" if bundled else "", card.notes, _reported(card))
    notes = " ".join(text.rstrip(".") + "." for text in texts if text)
    cells = (f"`{name}`", card.summary, parameters, card.input_policy, card.reference, notes)
    return tuple(_cell(text) for text in cells)


def _count(cls: type[Detector]) -> int:
    """Parameters of a network whose card does not state them, made without memory for its tensors."""
    import torch

    with torch.device("meta"):
        return cls().parameter_count()


def _reported(card: Card) -> str:
    if not (told := card.reported):
        return ""
    numbers = {"accuracy": told.accuracy, "AUC": told.auc}
    values = ", ".join(f"{what} {value:.3f}" for what, value in numbers.items() if value is not None)
    return f"Reported: {values or 'no number'} on {told.on}" + (f" ({told.source})" if told.source else "")


def _cell(text: str) -> str:
    """Text for one cell: no line breaks, no bars, and addresses (by their last part) and arXiv numbers as links."""
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    text = re.sub(r"https://[^\s,;)]+", lambda found: f"[{found[0].rpartition('/')[2]}]({found[0]})", text)
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


if __name__ == "__main__":
    main()
