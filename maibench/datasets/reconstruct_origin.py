"""What a data set of reconstructions says of its origin: a receipt for each image, and a data card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maibench.datasets.data_card import DataCard, versions_of
from maibench.datasets.pairs import Crop, Receipt
from maibench.datasets.photographs import Cut
from maibench.datasets.receipts import receipt_text
from maibench.datasets.vaes import Choice


def receipts_of(asked: Mapping[str, Any], choices: Sequence[Choice], cut: Cut) -> Receipt:
    """What writes the receipts. asked: as it is written to reconstruct.json."""
    settings = {"batch_size": asked["batch_size"], "device": asked["device"], "dtype": "float32"}
    versions = versions_of("maibench", "torch", "diffusers")
    cutting = {"step": "cut", "settings": {"size": cut.size, "multiple_of": cut.factor, "halved": cut.shrink}}
    store = {"step": "store", "settings": {"as": asked["store"]}, "versions": versions_of("maibench", "pillow")}
    decoded = {
        choice.name: {
            "step": "reconstruct",
            **_model(choice),
            "weights": asked["weights"][choice.name],
            "settings": settings,
            "versions": versions,
        }
        for choice in choices
    }

    def receipt(crop: Crop, generator: str, image_id: str) -> str:
        photograph = {
            "step": "photograph", "data": asked["data"], "path": crop.photograph, "image_id": crop.image_id,
            "licence": crop.licence or None,
        }  # fmt: skip
        made = [] if generator == "real" else [decoded[generator]]
        return receipt_text([photograph, cutting, *made, {**store, "image_id": image_id}])

    return receipt


def card_of(data: str, asked: Mapping[str, Any], choices: Sequence[Choice]) -> DataCard:
    """The data card of reconstructions of `data`, which is named as it is called and not by where it lies."""
    flags = {"vae": ",".join(asked["vae"]), "data": data, "each": asked["each"], "most": asked["most"]}
    flags |= {"size": asked["size"] or "full", "split": ",".join(asked["split"]), "batch-size": asked["batch_size"]}
    flags |= {"device": asked["device"], "store": asked["store"]}
    given = " ".join(f"--{name} {value}" for name, value in flags.items() if value is not None)
    autoencoders = [
        f"`{choice.name}`: {' '.join(filter(None, _model(choice).values()))}, weights {asked['weights'][choice.name]}"
        for choice in choices
    ]
    return DataCard(
        title=f"{data}, reconstructed",
        summary=f"Real photographs of {data} beside their reconstructions through autoencoders, both stored alike: the "
        "same content with and without a decoder's traces",
        made=[
            f"Photographs: {asked['data']} (name and fingerprint); splits and sources are theirs",
            *autoencoders,
            "The column `receipt` says of each image how it came to be",
        ],
        command=f"maibench data reconstruct {given}{' --shrink' if asked['shrink'] else ''}",
        limits=[
            "A reconstruction has a decoder's traces and nothing else of a generator; its content is a photograph's. "
            "What detects it need not detect a generator's own pictures",
            "Made to train on, not to compare detectors by",
        ],
        tags=["autoencoder", "reconstruction"],
        versions=versions_of("torch", "diffusers", "pillow"),
    )


def _model(choice: Choice) -> dict[str, str | None]:
    """Where an autoencoder is from; of one that lies here the name alone, as its path says nothing elsewhere."""
    if Path(choice.origin).exists():
        return {"model": Path(choice.origin).name}
    model, _, revision = choice.origin.partition("@")
    return {"model": model, "revision": revision or None}
