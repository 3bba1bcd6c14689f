"""mean(A,B,...) and stack(A,B,...): several detectors as one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maibench.config import label_specs, split_list
from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.loading import fingerprint, load_detector


class Mean(Detector):
    """The mean of its members' logits. Each member prepares the image in its own way; an image that one of them cannot
    read has no logit, and one that one of them is unsure of is unsure.

    members: SPECs or LABEL=SPECs, as they stand between the parentheses. options: those of a member, by its label, as
    in --set "LABEL.options={mai_cnn: {weights: FILE}}".

    Members that are fitted are fitted first, each on its own split. Raises MaibenchError for fewer than two members,
    two of one name, and what a member is refused for; DetectorError where one of several reads files and not pixels.
    """

    loads: ClassVar[tuple[str, ...]] = ("weights", "device")
    combines: ClassVar[str] = "the mean of the logits"
    card = Card(name="mean", summary="the mean of several detectors' logits")

    def __init__(
        self,
        *,
        members: Sequence[str],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        weights: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        name = self.card.name
        if weights is not None:
            raise MaibenchError(
                f'{name}: weights are its members\': --set "LABEL.options={{MEMBER: {{weights: FILE}}}}"'
            )
        self.specs = label_specs(_texts(name, members))
        if len(self.specs) < 2:
            raise MaibenchError(f"{name}: name two detectors or more, as in {name}(bailu,mai_cnn)")
        # a list: labels may have dots, and names of modules may not
        self.members = nn.ModuleList(_loaded(name, self.specs, options, device))
        self.members.requires_grad_(False)
        self.codes = tuple(fingerprint(member) for member in self._each())  # is part of the fingerprint
        reads = {member.reads for member in self._each()}
        if len(reads) > 1:
            listed = ", ".join(label for label, member in self.named().items() if member.reads == "file")
            raise DetectorError(f"{name}: {listed} reads files, others read pixels; members have to read the same")
        self.reads = reads.pop()
        self.card = self.card.updated(**self._facts_of_card())

    def named(self) -> dict[str, Detector]:
        """The members by their labels."""
        return dict(zip(self.specs, self._each(), strict=True))

    def preprocess(self, image: Any) -> Any:
        """What each member makes of the image. Raises ImageError, with the member's name."""
        return self._asked("preprocess", image)

    def differentiable(self, pixels: Tensor) -> Any:
        """`preprocess` of each member, with gradients. Raises MaibenchError where one of them does not have it."""
        return self._asked("differentiable", pixels)

    def collate(self, items: Sequence[Any]) -> Any:
        """A batch of each member."""
        return tuple(member.collate([item[index] for item in items]) for index, member in enumerate(self._each()))

    def forward(self, batch: Any) -> Tensor:
        """A batch of each member -> (n,) logits."""
        return self.answer(batch)[0]

    def answer(self, batch: Any) -> tuple[Tensor, Tensor]:
        """(n,) logits, and which images any member is unsure of."""
        logits, unsure = self._answers(batch)
        return self.combined(logits), unsure

    def combined(self, logits: Tensor) -> Tensor:
        """(n, members) logits -> (n,)."""
        return logits.mean(dim=1)

    @property
    def fitted(self) -> bool:  # type: ignore[override]  # as its members are
        return bool(self.fitted_parts())

    @property
    def concurrent(self) -> bool:  # type: ignore[override]
        return all(member.concurrent for member in self._each())

    @property
    def elsewhere(self) -> bool:  # type: ignore[override]
        return any(member.elsewhere for member in self._each())

    @classmethod
    def options_of_spec(cls, spec: str) -> dict[str, Any]:
        """mean(A,B) -> its members."""
        return {"members": split_list(spec.partition("(")[2].removesuffix(")"))}

    def fitted_parts(self) -> dict[str, Detector]:
        """The members that are fitted."""
        return {label: member for label, member in self.named().items() if member.fitted}

    def generators_seen(self, generators: Mapping[str, Collection[str]]) -> Sequence[str] | None:
        """All that its members have seen; None where that is unknown of one of them."""
        return _union([member.generators_seen(generators) for member in self._each()])

    def check_ready(self) -> None:
        """Raises MaibenchError where a member cannot score yet."""
        for label, member in self.named().items():
            try:
                member.check_ready()
            except MaibenchError as error:
                raise type(error)(f"{label}: {error}") from error

    def facts(self) -> dict[str, str]:
        """Each member: its SPEC, the sha256 of its weights, its fingerprint."""
        return {
            label: ", ".join(
                [
                    self.specs[label],
                    *([f"sha256 {member.card.sha256}"] if member.card.sha256 else []),
                    f"fingerprint {code}",
                ]
            )
            for (label, member), code in zip(self.named().items(), self.codes, strict=True)
        }

    def parameter_count(self) -> int:
        """Of all members."""
        return sum(member.parameter_count() for member in self._each())

    def save(self, folder: Path) -> dict[str, Any]:
        """Raises MaibenchError: an ensemble is its SPEC."""
        raise MaibenchError(
            f"{self.card.name}(...) has no weights of its own to be saved: save its members, and name them"
        )

    def _each(self) -> list[Detector]:
        return list(self.members)  # type: ignore[arg-type]  # as it was filled

    def _asked(self, method: str, image: Any) -> tuple[Any, ...]:
        items = []
        for label, member in self.named().items():
            try:
                items.append(getattr(member, method)(image))
            except MaibenchError as error:
                raise type(error)(f"{label}: {error}") from error
            except Exception as error:  # a plug-in's code
                raise ImageError(f"{label}: {type(error).__name__}: {error}") from error
        return tuple(items)

    def _answers(self, batch: Any) -> tuple[Tensor, Tensor]:
        """(n, members) float64 logits, and (n,) bool."""
        answers = [member.answer(part) for member, part in zip(self._each(), batch, strict=True)]
        logits = torch.stack([logits.double() for logits, _ in answers], dim=1)
        return logits, torch.stack([unsure for _, unsure in answers], dim=1).any(dim=1)

    def _facts_of_card(self) -> dict[str, Any]:
        cards = {label: member.card for label, member in self.named().items()}
        sizes = {card.input_size for card in cards.values()}
        return {
            "summary": f"{self.combines} of {_listed(list(cards))}",
            "weights": _each_own({label: card.weights for label, card in cards.items()}),
            "licence": _each_own({label: card.licence for label, card in cards.items()}),
            "reference": _each_own({label: card.reference for label, card in cards.items()}),
            "input_size": sizes.pop() if len(sizes) == 1 else None,
            "input_policy": _each_own({label: card.input_policy for label, card in cards.items()}),
            "trained_on": _union([card.trained_on for card in cards.values()]),
            "training_data": _each_own({label: card.training_data for label, card in cards.items()}),
        }


class Stack(Mean):
    """Wolpert 1992's stacked generalisation: a logistic regression (scikit-learn, both classes weighing the same) on
    its members' logits, fitted on the validation split, which they were not trained on. Takes what `Mean` does."""

    fit_split: ClassVar[Any] = "validation"
    fitted: bool = True
    combines: ClassVar[str] = "a logistic regression, fitted on the validation split, on the logits"
    card = Card(
        name="stack",
        summary="a logistic regression on several detectors' logits",
        notes="thresholds and calibration fitted on the validation split are fitted where the stack was",
    )

    def __init__(
        self,
        *,
        members: Sequence[str],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        weights: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(members=members, options=options, weights=weights, device=device)
        self.register_buffer("coefficients", torch.zeros(len(self.members), dtype=torch.float64))
        self.register_buffer("intercept", torch.full((), torch.nan, dtype=torch.float64))

    def fit_features(self, batch: Any) -> Tensor:
        """(n, members), their logits."""
        return self._answers(batch)[0]

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Find the weights. Raises MaibenchError when a class is missing."""
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(labels)) < 2:
            raise MaibenchError("stack: the validation split holds one class only; it needs real and synthetic images")
        scale = np.maximum(features.std(axis=0), 1e-9)  # members' logits differ in scale, and none is to be shrunk more
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(features / scale, labels)
        self.coefficients = torch.from_numpy(model.coef_[0] / scale).to(self.device)
        self.intercept = torch.tensor(float(model.intercept_[0]), dtype=torch.float64, device=self.device)

    def combined(self, logits: Tensor) -> Tensor:
        """(n, members) logits -> (n,). Raises MaibenchError before `fit`."""
        if torch.isnan(self.intercept):
            raise MaibenchError("stack: not fitted yet; call fit with the members' logits of a validation split")
        return logits @ self.coefficients + self.intercept

    def generators_seen(self, generators: Mapping[str, Collection[str]]) -> Sequence[str] | None:
        """All that its members have seen, and those of the validation split."""
        return _union([super().generators_seen(generators), sorted(generators.get(self.fit_split, ()))])

    def parameter_count(self) -> int:
        """Of all members, and a weight of each and one more."""
        return super().parameter_count() + len(self.members) + 1


def _texts(name: str, members: Any) -> list[str]:
    if isinstance(members, str) or not all(isinstance(member, str) for member in members):
        raise MaibenchError(f"{name}: members is a list of SPECs; got {members!r}")
    return list(members)


def _loaded(name: str, specs: dict[str, str], options: Any, device: str) -> list[Detector]:
    given = {} if options is None else options
    if not isinstance(given, Mapping) or not all(isinstance(own, Mapping) for own in given.values()):
        raise MaibenchError(f"{name}.options is {{member: {{option: value}}}}; got {options!r}")
    if unknown := [label for label in given if label not in specs]:
        raise MaibenchError(f"{name}.options: no member is called '{unknown[0]}'; there are {', '.join(specs)}")
    members = []
    for label, spec in specs.items():
        try:
            members.append(load_detector(spec, device=device, **given.get(label, {})))
        except MaibenchError as error:
            raise type(error)(f"{name}: {label}: {error}") from error
    return members


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _each_own(facts: dict[str, str]) -> str:
    """One fact of every member, once where it is the same; "" where none says anything."""
    if len(set(facts.values())) == 1:
        return next(iter(facts.values()))
    return "; ".join(f"{label}: {fact or 'not known'}" for label, fact in facts.items())


def _union(groups: Sequence[Collection[str] | None]) -> list[str] | None:
    """None where one of them is unknown."""
    known = [group for group in groups if group is not None]
    return sorted({name for group in known for name in group}) if len(known) == len(groups) else None
