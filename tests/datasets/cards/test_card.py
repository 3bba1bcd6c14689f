"""Cards: each is well formed and short, and reads its own layout; what is wrong in one is said."""

import dataclasses
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maibench.datasets.cards.card import FOLDER, DatasetCard, card_for_hub, card_names, find_card, read_card
from maibench.datasets.cards.layout import Layout, nearest_layouts
from maibench.datasets.columns import parse_columns
from maibench.datasets.generators import release_date
from maibench.errors import MaibenchError

MINE = """title: mine
homepage: https://example.org
licence: mit
size: 2 images
layout: ["**/{generator}/{split}/{label}/{stem}"]
problems: [{says: none known}]
cite: "@misc{mine}"
"""
SAID = {  # card: {path: (label, generator, source, split)}
    "genimage": {
        "Midjourney/imagenet_midjourney/train/ai/0_midjourney_1.png": (1, "midjourney-v5", "", "train"),
        "imagenet_ai_0508_adm/val/nature/ILSVRC2012_val_00000225.JPEG": (
            0, "real", "imagenet:ILSVRC2012_val_00000225", "test"),
        "Stable Diffusion V1.4/train/ai/000_sdv4_1.png": (1, "sd1.4", "", "train"),
        "BigGAN/imagenet_ai_0419_biggan/val/ai/166_biggan_00143.png": (1, "biggan", "", "test"),
    },
    "cnndetection": {
        "test/progan/airplane/0_real/00001.png": (0, "real", "", "test"),
        "seeingdark/1_fake/2.png": (1, "sitd", "", "test"),
        "dataset/train/horse/1_fake/00002.png": (1, "progan", "", "train"),
        "train/progan/cat/0_real/3.png": (0, "real", "", "train"),
        "val/cat/1_fake/3.png": (1, "progan", "", "validation"),
    },
    "universalfakedetect": {
        "diffusion_datasets/laion/0_real/1.jpg": (0, "real", "laion:1", "test"),
        "imagenet/0_real/1.jpg": (0, "real", "imagenet:1", "test"),
        "guided/1_fake/1.png": (1, "adm", "", "test"),
        "dalle/1_fake/1.png": (1, "dalle-mini", "", "test"),
        "ldm_200_cfg/1_fake/1.png": (1, "ldm-200-cfg", "", "test"),
        "ldm_200/1_fake/1.png": (1, "ldm-200", "", "test"),
    },
    "diffusiondb": {
        "images/part-000001/3bfcd9cf.png": (1, "sd-beta-2022", "", "test"),
        "diffusiondb-large-part-1/part-000001/0a8dc864.webp": (1, "sd-beta-2022", "", "test"),
    },
    "synthbuster": {
        "synthbuster/dalle2/r0a2e85f0t.png": (1, "dalle2", "raise:r0a2e85f0t", "test"),
        "synthbuster/real_RAISE_1k/r0a2e85f0t.png": (0, "real", "raise:r0a2e85f0t", "test"),
        "RAISE/r0a2e85f0t.TIF": (0, "real", "raise:r0a2e85f0t", "test"),
        "stable-diffusion-1-3/r1.png": (1, "sd1.3", "raise:r1", "test"),
    },
    "chameleon": {
        "test/0_real/a.jpg": (0, "real", "", "test"),
        "1_fake/b.jpg": (1, "unknown", "", "test"),
    },
    "wildrf": {
        "WildRF/test/reddit/0_real/1.jpg": (0, "real", "reddit:0_real/1", "test"),
        "test/twitter/1_fake/1.jpg": (1, "unknown", "twitter:1_fake/1", "test"),
        "train/1_fake/1.jpg": (1, "unknown", "train:1_fake/1", "train"),
        "val/0_real/1.jpg": (0, "real", "val:0_real/1", "validation"),
    },
    "aigibench": {
        "train/car/0_real/1.png": (0, "real", "", "train"),
        "train/car/1_fake/1.png": (1, "progan", "", "train"),
        "train/sdv1.4/1_fake/1.png": (1, "sd1.4", "", "train"),
        "val/horse/1_fake/1.png": (1, "progan", "", "validation"),
        "test/FLUX1-dev/FLUX1-dev/1_fake/1.png": (1, "flux.1-dev", "", "test"),
        "test/Midjourney-V6/1_fake/1.png": (1, "midjourney-v6", "", "test"),
        "SocialRF/1_fake/1.jpg": (1, "unknown-socialrf", "", "test"),
    },
}  # fmt: skip


@pytest.fixture
def mine(tmp_path):
    """mine(text) -> the card in a new file."""

    def write(text):
        file = tmp_path / f"mine{len(list(tmp_path.iterdir()))}.yaml"
        file.write_text(text)
        return read_card(file)

    return write


@pytest.mark.parametrize("name", card_names())
def test_a_card_is_short_and_complete(name):
    card = find_card(name)
    assert len((FOLDER / f"{name}.yaml").read_text().splitlines()) <= 45
    assert card.cite.count("{") == card.cite.count("}")
    assert name == "wild" or (card.homepage.startswith("https://") and all(problem.link for problem in card.problems))
    assert all(release_date(generator) is None for generator in card.released)  # those are dated in one place
    for hub in card.hub:
        parse_columns(hub.columns)


def test_every_layout_is_tried():
    assert set(SAID) == {name for name in card_names() if find_card(name).layout}


@pytest.mark.parametrize("name", SAID)
def test_a_layout_says_what_a_path_means(name):
    layout = Layout(find_card(name))
    for path, said in SAID[name].items():
        assert (path, dataclasses.astuple(layout.describe(path))) == (path, said)
    assert layout.describe("somewhere/else.png") is None


@pytest.mark.parametrize("name", SAID)
def test_its_own_layout_is_the_nearest(name):
    near = nearest_layouts(list(SAID[name]))
    assert len(near) == 3
    assert near[0].share == 1
    assert name in [fit.card.name for fit in near if fit.share == 1]


def test_nearest_by_the_names_of_folders_where_none_fits():
    near = nearest_layouts(["genimage/wukong/holdout/ai/1.png", "genimage/vqdm/holdout/nature/2.jpg"])
    assert (near[0].card.name, near[0].share) == ("genimage", 0)


def test_a_repository_of_the_hub_has_one_meaning():
    hubs = [hub for name in card_names() for hub in find_card(name).hub]
    for hub in hubs:
        assert {other.columns for other in hubs if other.repo == hub.repo} <= {hub.columns, card_for_hub(hub.repo), ""}
    assert card_for_hub("complexdatalab/openfake") == card_for_hub("ComplexDataLab/OpenFake")
    assert "synthetic=fake" in card_for_hub("ComplexDataLab/OpenFake")
    assert "generator='sd-beta-2022'" in card_for_hub("poloclub/diffusiondb")
    assert card_for_hub("nobody/nothing") is None


@given(st.text("abc {}*?[]()+.\\|^$", min_size=1).filter(lambda name: name.strip() and "/" not in name))
def test_any_folder_may_be_an_open_generator(name):
    card = DatasetCard(
        name="mine", title="t", homepage="https://a.b", licence="l", size="s", cite="@misc{a}",
        problems=({"says": "p"},), layout=("**/{generator}/{label}/*",),
    )  # fmt: skip
    said = Layout(card).describe(f"{name}/1_fake/1.png")
    assert (said.label, said.generator) == (1, name)


def test_a_card_of_ones_own(mine):
    card = mine(MINE)
    assert dataclasses.astuple(Layout(card).describe("x/sdxl/val/1_fake/1.png")) == (1, "sdxl", "", "validation")
    assert Layout(card).describe("x/sdxl/other/1_fake/1.png") is None


@pytest.mark.parametrize(
    ("was", "now", "reason"),
    [
        ("title: mine\n", "", "title: Field required; a card has name, title"),
        ("licence: mit", "license: mit", "licence: Field required"),
        ("https://example.org", "example.org", "homepage: String should match"),
        ("{split}/{label}", "{split}", "has to say the label once"),
        ("{generator}/", "", "says no generator"),
        ("{split}", "{generator}", "one word in braces twice"),
        ("/{stem}", "/", "does not end in the name of a file"),
        ('layout: ["**', 'layout: [{source: "{who}", path: "**', "has no {who}"),
        ("layout:", "labels: {fake: 1}\nlayout:", "labels.fake: Input should be 'real' or 'synthetic'"),
        ("layout:", "released: {sdxl: soon}\nlayout:", "released.sdxl: String should match"),
        ("says: none known", "link: https://a.b", "problems.0.says: Field required"),
        ("layout:", "access: ''\nhub: [{repo: nothing}]\nlayout:", "hub.0.repo: String should match"),
        ('layout: ["**/{generator}/{split}/{label}/{stem}"]\n', "", "needs a layout"),
        (MINE, "just words", "a configuration is a list"),
    ],
)
def test_what_is_wrong_in_a_card_is_said(mine, was, now, reason):
    text = MINE.replace(was, now)
    if "path:" in now:
        text = text.replace('{stem}"]', '{stem}"}]')
    with pytest.raises(MaibenchError, match=r"mine\d\.yaml: .*") as raised:
        mine(text)
    assert reason in str(raised.value)


def test_unknown_names():
    with pytest.raises(MaibenchError, match="unknown data set 'GenImages': did you mean 'genimage'"):
        find_card("GenImages")
    with pytest.raises(MaibenchError, match="name one data set"):
        find_card()


def test_the_card_of_the_docs_is_one(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    block = text[text.index("    title: My set") : text.index("## wild")]
    (tmp_path / "mine.yaml").write_text(textwrap.dedent(block))
    card = read_card(tmp_path / "mine.yaml")
    said = Layout(card).describe("val/stable-diffusion-xl/7.png")
    assert (said.label, said.generator, said.split, said.source) == (1, "sdxl", "validation", "prompt:7")
