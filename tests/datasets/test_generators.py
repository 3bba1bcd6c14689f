"""The list of release dates holds together, and names find their way to it."""

import re

import pytest
import yaml

from maibench.datasets.generators import LISTED, release_date, release_dates

ENTRIES = yaml.safe_load(LISTED.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "entry"), ENTRIES.items())
def test_an_entry_is_a_month_with_its_origin(name, entry):
    assert set(entry) <= {"released", "from", "aliases"}
    assert re.fullmatch(r"20(1[4-9]|2\d)-(0[1-9]|1[0-2])", entry["released"])
    if paper := re.fullmatch(r"arXiv (\d\d)(\d\d)\.\d{5}", entry["from"]):
        assert entry["released"] == f"20{paper[1]}-{paper[2]}"
    else:
        assert entry["from"] in {"weights", "service", "preview", "weights and service"}
    assert release_date(name) == entry["released"]


def test_no_two_names_are_one():
    names = [name for title, entry in ENTRIES.items() for name in (title, *entry.get("aliases", []))]
    keys = ["".join(character for character in name.casefold() if character.isalnum()) for name in names]
    assert len(keys) == len(set(keys))


def test_versions_come_out_in_their_order():
    for versions in (
        ["midjourney-v1", "midjourney-v3", "midjourney-v5", "midjourney-v6", "midjourney-v6.1", "midjourney-v7"],
        ["ldm", "ldm-text2im", "sd1.4", "sd1.5", "sd2.0", "sd2.1", "sdxl", "sd3", "sd3.5"],
        ["progan", "stylegan", "stylegan2", "stylegan3"],
        ["dalle2", "dalle3", "gpt-4o"],
        ["flux.1-dev", "flux1.1-pro", "flux.2", "flux.2-klein"],
    ):
        dates = [release_date(name) for name in versions]
        assert dates == sorted(dates)


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("sd1.4", "2022-08"), (" SD-1.4", "2022-08"), ("Stable Diffusion v1.4", "2022-08"), ("DALL-E 2", "2022-04"),
        ("DALL·E 3", "2023-10"), ("FLUX.1 [dev]", "2024-08"), ("Midjourney_v7", "2025-04"), ("ADM", "2021-05"),
        ("vae-sd1.4", None), ("nano-sdxl", None), ("nano-flux.2", None), ("midjourney", None), ("real", None),
        ("", None), ("<script>", None),
    ],
)  # fmt: skip
def test_names_as_people_write_them(name, date):
    assert release_date(name) == date


def test_dates_of_the_data_win():
    listed = {"sdxl": "2023-07-26", "ours": "2026-02", "dalle2": " "}
    found = release_dates(["sdxl", "ours", "dalle2", "unheard-of"], listed)
    assert found == {"sdxl": "2023-07-26", "ours": "2026-02", "dalle2": "2022-04"}
    assert list(found) == ["sdxl", "ours", "dalle2"]
    assert release_dates([]) == {}
