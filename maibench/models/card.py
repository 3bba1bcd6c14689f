"""The card: what is known of one detector with one set of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from maibench.errors import MaibenchError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Reported(BaseModel):
    """A number that the authors published: accuracy in [0, 1], on what, and where it stands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy: float | None = None
    auc: float | None = None
    on: str
    source: str = ""


class Card(BaseModel):
    """Facts of a detector and its weights; only `name` is required.

    weights: where they come from ("bundled", a path, or "fitted on the training split"). sha256: of the weights' file.
    parameters: how many the network has. input_size: pixels a side that the network sees, None for any size.
    input_policy: what happens to images that are larger or smaller. mean, std: of the normalisation, for RGB in [0, 1].
    trained_on: the generators of the training images, None where that is unknown. reported: the authors' own number.
    validation: numbers on the validation split that the weights were chosen by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    summary: str = ""
    weights: str = ""
    sha256: str = ""
    licence: str = ""
    reference: str = ""
    parameters: int | None = None
    input_size: int | None = None
    input_policy: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    trained_on: tuple[str, ...] | None = None
    training_data: str = ""
    recipe: str = ""
    validation: dict[str, float] = {}
    reported: Reported | None = None
    notes: str = ""

    def updated(self, **facts: Any) -> Card:
        """A copy with some facts replaced, checked like a new one."""
        return Card.model_validate({**self.model_dump(), **facts})

    def written_over(self, base: Card) -> str:
        """JSON of the facts that `base.read` needs to make this card of it: also of those that it says nothing of."""
        import json

        facts, said, there = (card.model_dump(mode="json") for card in (self, Card(name=""), base))
        told = {name: value for name, value in facts.items() if value != said[name] or value != there[name]}
        return json.dumps(told, indent=2, ensure_ascii=False)

    def read(self, file: Path) -> Card:
        """A copy with the facts that a card file (JSON) states of a set of weights.

        Raises MaibenchError when the file is not a card, or is the card of another detector.
        """
        import json

        try:
            facts = json.loads(file.read_text())
            card = self.updated(**facts)
        except (OSError, ValueError, TypeError, ValidationError) as error:
            raise MaibenchError(f"{file}: not a detector's card: {error}") from error
        if card.name != self.name:
            raise MaibenchError(f"{file}: this is the card of '{card.name}', not of '{self.name}'")
        return card
