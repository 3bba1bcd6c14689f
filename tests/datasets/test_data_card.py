"""The data card: the Hub's own library reads it, and it says what is in the data."""

import pandas as pd
import pytest
from huggingface_hub import DatasetCard

from maibench.datasets.data_card import DataCard, hub_licence, read_front_matter, write_data_card
from maibench.errors import MaibenchError


def rows_of(licences=("MIT", "CC BY 4.0"), shared=False):
    splits = ["train", "train", "test", "test"]
    sources = ["a/photos:1", "a/photos:1", "b:2", "a/photos:1" if shared else "b:3"]
    frame = pd.DataFrame({"path": list("wxyz"), "label": [0, 1, 0, 1], "generator": ["real", "sdxl", "real", "flux"]})
    return frame.assign(split=splits, source=sources, licence=[*licences, *licences])


def test_the_hub_reads_it(tmp_path):
    card = DataCard(
        "a: b | 'c'", "Photos and twins", ["chosen"], "maibench data pack x --out y", limits=["small"], tags=["wds"],
        data_files={"train": "train-*.parquet", "test": "test-*.parquet"}, versions={"torch": "2.14"},
    )  # fmt: skip
    file = write_data_card(tmp_path, card, rows_of())
    read = DatasetCard.load(file)
    assert read.data.pretty_name == "a: b | 'c'"
    assert read.data.license == ["cc-by-4.0", "mit"]
    assert read.data.tags == ["ai-generated-image-detection", "maibench", "wds"]
    assert read.data.size_categories == ["n<1K"]
    front = read_front_matter(tmp_path)
    assert front["configs"][0]["data_files"][1] == {"split": "test", "path": "test-*.parquet"}
    for line in (
        "| generator | train | test | all |", "| real | 1 | 1 | 2 |", "| sdxl | 1 | 0 | 1 |", "| all | 2 | 2 | 4 |",
        "| a/photos | 2 | CC BY 4.0; MIT |", "3 sources (photographs, prompts or scenes); none lies in two splits.",
        "- Command: `maibench data pack x --out y`", "torch 2.14", "- small",
    ):  # fmt: skip
        assert line in read.text, line
    first = file.read_bytes()
    assert write_data_card(tmp_path, card, rows_of()).read_bytes() == first


@pytest.mark.parametrize(
    ("licences", "given", "front"),
    [
        (("MIT", "mit license"), "", {"license": "mit"}),
        (("MIT", None), "", {"license": "unknown"}),
        (("MIT", "none stated"), "", {"license": "other", "license_name": "several-as-listed-for-each-image"}),
        (("MIT", None), "CC0", {"license": "cc0-1.0"}),
    ],
)  # fmt: skip
def test_licences(tmp_path, licences, given, front):
    write_data_card(tmp_path, DataCard("mine", "x", licence=given), rows_of(licences))
    read = read_front_matter(tmp_path)
    assert {key: read[key] for key in read if key.startswith("license")} == front


def test_words_of_licences():
    words = {"CC BY-SA 4.0": "cc-by-sa-4.0", "Apache License 2.0": "apache-2.0", "CC-BY-4.0": "cc-by-4.0"}
    words |= {"CreativeML OpenRAIL-M": "creativeml-openrail-m", "MIT": "mit", "as Flickr says": None}
    assert {word: hub_licence(word) for word in words} == words


def test_a_leak_is_said(tmp_path):
    write_data_card(tmp_path, DataCard("mine", "x"), rows_of(shared=True))
    assert "1 of them lie in more than one split, which is a leak" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("text", [None, "# no front matter", "---\na: [\n---\n"])
def test_no_data_card(tmp_path, text):
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    with pytest.raises(MaibenchError, match=r"README\.md: (the data card cannot be read|has no front|its front)"):
        read_front_matter(tmp_path)
