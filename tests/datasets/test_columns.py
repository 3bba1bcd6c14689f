"""Columns of other people's data sets: what is understood by itself, what has to be said, and what is asked."""

import json

import pandas as pd
import pytest

from maibench.datasets.columns import parse_columns
from maibench.datasets.meanings import class_names, label_meant, split_meant
from maibench.errors import MaibenchError


def rows(columns="", features=None, **data):
    count = len(next(iter(data.values())))
    frame = pd.DataFrame({"path": [f"{number}" for number in range(count)], **data})
    return parse_columns(columns).rows(frame, "the data", features)


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("0_real REAL human nature Natural photo RealArt not_ai not-fake non-synthetic real_images camera", 0),
        ("1_fake ai AI-generated AiArtData synthetic generated_photo artificial FakeFaces not_real", 1),
        ("1 0 sdxl real_vs_fake midjourney dog realistic Canon", None),
    ],
)
def test_words_of_labels(words, label):
    assert {word: label_meant(word) for word in words.split()} == dict.fromkeys(words.split(), label)
    assert label_meant("") is None


def test_words_of_splits():
    given = {"train": "train", "training": "train", "val": "validation", "dev": "validation", "test": "test"}
    assert {word: split_meant(word) for word in [*given, "fake"]} == {**given, "fake": "test"}


@pytest.mark.parametrize(
    ("columns", "data", "features"),
    [
        ("", {"label": [0, 1, 0]}, {"label": ["AiArt", "RealArt"]}),
        ("", {"is_fake": [True, False, True]}, None),
        ("", {"is_real": [0, 1, 0]}, None),
        ("", {"label": ["Fake", " real ", "fake"]}, None),
        ("", {"label": [1, 0, 1], "generator": ["synthetic", "real", ""]}, None),
        ("", {"generator": ["fake", "real", "ai"]}, None),
        ("label=what,synthetic=x|z", {"what": ["x", "y", "z"]}, None),
        ("label=what, real=y , generator='synthetic'", {"what": ["x", "Y", "z"]}, None),
        ("synthetic=2", {"label": [2.0, 1.0, 2.0]}, None),
        ("label=split,synthetic=fakes", {"split": ["fakes", "photos", "fakes"]}, None),
    ],
)
def test_labels(columns, data, features):
    made = rows(columns, features, **data)
    assert made["label"].tolist() == [1, 0, 1]
    named = ["x", "real", "z"] if columns.startswith("label=what,s") else ["synthetic", "real", "synthetic"]
    assert made["generator"].tolist() == named


def test_all_roles_and_what_is_left():
    made = rows(
        "label='synthetic',generator=model,source=prompt,split=part,licence='CC0, as is',image_id=sha",
        model=["sdxl", None], prompt=["a", "b"], part=["val", "odd"], sha=["a" * 64, "b" * 64], width=[8, 9],
        released=["2023-07", None],
    )  # fmt: skip
    assert made.to_dict("list") | {"released": 0} == {
        "path": ["0", "1"], "label": [1, 1], "generator": ["sdxl", "synthetic"], "source": ["a", "b"], "released": 0,
        "split": ["validation", "test"], "licence": ["CC0, as is"] * 2, "image_id": ["a" * 64, "b" * 64],
        "width": [8, 9],
    }  # fmt: skip
    assert made["released"].tolist() == ["2023-07", ""]


def test_a_role_can_be_left_out_and_a_foreign_image_id_is_passed_over():
    made = rows("source=''", label=["real", "ai"], source=["a", "b"], image_id=[17, 18])
    assert list(made.columns) == ["path", "label", "generator"]


def test_class_names_of_a_parquet_file():
    info = {"info": {"features": {"label": {"names": ["real", "ai"], "_type": "ClassLabel"}, "image": {}}}}
    assert class_names({b"huggingface": json.dumps(info).encode()}) == {"label": ["real", "ai"]}
    assert class_names({b"huggingface": b"{"}) == class_names(None) == {}


@pytest.mark.parametrize(
    ("columns", "data", "words"),
    [
        ("", {"label": [0, 1]}, r"'label' holds '0', '1', which does not say .* are path \(text\), label \(int\)"
         r'\. Say it: --columns "label=label,synthetic=1" .* or "label=label,real=1"'),
        ("", {"label": ["dog", "real"]}, "'label' holds 'dog', 'real', which does not say"),
        ("", {"label": [1, 0], "generator": ["sdxl", "coco"]}, "does not say what is real"),
        ("", {"label": ["real", None]}, "the column 'label' is empty in some rows"),
        ("real=a,synthetic=b", {"label": ["a", "c"]}, "'label' holds 'a', 'c'"),
        ("", {"model": ["Canon", "Nikon"]}, r"no column says .* path \(text\), model \(text\)\. .* label='synthetic'"),
        ("synthetic=AI", {"label": list("abcdefghijkl")}, r"no row of .*'label' holds 'AI'; .*'j' and 2 more\."),
        ("real=reel", {"generator": ["sdxl", "real"]}, "no row of the column 'generator' holds 'reel'"),
        ("label=lable", {"label": ["real"]}, "no column 'lable': did you mean 'label'"),
        ("", {"label": ["ai", "ai"], "generator": ["x", "real"]}, "row 2 is labelled synthetic, its generator is 'r"),
        ("image_id=id", {"id": ["7"], "label": ["ai"]}, "'id' holds no image_id: that is the sha256"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_asked(columns, data, words):
    with pytest.raises(MaibenchError, match=f"the data: .*{words}"):
        rows(columns, **data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lable=x", "unknown name 'lable': did you mean 'label'"),
        ("label", "cannot be read from 'label' on"),
        ("label=x,,", "cannot be read from ',' on"),
        ("label=", "cannot be read"),
        ("label=x,label=y", "'label' is given twice"),
        ("real=a,synthetic=b|a", "'a' cannot mean synthetic and real"),
        ("image='x'", "image must be a column"),
    ],
)
def test_what_cannot_be_read(text, words):
    with pytest.raises(MaibenchError, match=words):
        parse_columns(text)


def test_the_column_of_images():
    columns = parse_columns("")
    assert columns.image(["mask", "image"], ["mask", "image", "x"], "d") == "image"
    assert columns.image(["odd"], ["odd", "x"], "d") == "odd"
    with pytest.raises(MaibenchError, match=r"d: several columns that hold images \(a, b\); the columns are a, b, c"):
        columns.image(["a", "b"], ["a", "b", "c"], "d")
    with pytest.raises(MaibenchError, match="d: no column that holds images; the columns are c"):
        columns.image([], ["c"], "d")
