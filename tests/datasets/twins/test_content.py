"""Captions reduced to their content."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maibench.datasets.twins.content import content_of
from maibench.errors import ImageError

TALK = """a the this is photo image of showing dog, red bus. AI-generated high-resolution stunning taken with camera in
quality we see appears to be and blurry It The "lake" 'A 50mm lens likely — ! … ß"""


@pytest.mark.parametrize(
    ("caption", "content"),
    [
        ("This is a photo of a dog, taken with a DSLR camera.", "A dog."),
        ("The image shows a red bus on a street. The image is AI-generated.", "A red bus on a street."),
        ("In this blurry image, we see two cats\nand  a mouse.", "Two cats and a mouse."),
        ("A high-resolution, professional photograph of a kitchen", "A kitchen."),
        ("A man appears to be riding a horse, in high quality.", "A man riding a horse."),
        ("A beautiful sunset over the sea. The photo was taken from a boat.", "A sunset over the sea."),
        ("A close-up of a bee on a flower. It looks happy.", "A bee on a flower. It looks happy."),
        # what is seen stays, also where it speaks of pictures
        ("Two photographers holding a camera.", "Two photographers holding a camera."),
        ("This is a professional kitchen with a stove.", "This is a professional kitchen with a stove."),
    ],
)
def test_what_is_seen_stays_and_talk_of_pictures_goes(caption, content):
    assert content_of(caption) == content


@pytest.mark.parametrize("caption", [" \n", "A stunning 4K photo.", "This is the of.", "…!"])
def test_no_content_is_a_reason(caption):
    with pytest.raises(ImageError, match="said nothing" if caption.isspace() else "nothing that can be seen"):
        content_of(caption)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(TALK.split()), max_size=14).map(" ".join)))
def test_content_has_no_more_to_remove(caption):
    try:
        content = content_of(caption)
    except ImageError:
        return
    assert content_of(content) == content == " ".join(content.split())
    assert content.endswith(".")
