"""Questions become token ids, and answers are single tokens: by a tokenizer, or by ids that are given."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from maibench import load_detector
from maibench.errors import DetectorError, MaibenchError
from maibench.models.moondream.checkpoint import Checkpoint
from maibench.models.moondream.config import MoondreamConfig
from maibench.models.moondream.prompt import find_answers, open_tokenizer

GIVEN = {"question": [5, 6], "yes": [17, 18], "no": [21]}


@pytest.fixture(scope="module")
def bare_folder(tiny_folder):
    """A folder without a tokenizer; not to be changed."""
    return tiny_folder(tokenizer=False)


@pytest.fixture
def named(tmp_path):
    """named(tokenizer) -> the file that it is saved as."""

    def save(tokenizer):
        tokenizer.save(str(tmp_path / "own.json"))
        return tmp_path / "own.json"

    return save


def letters() -> Tokenizer:
    """Every letter is a token."""
    tokenizer = Tokenizer(models.BPE({letter: token for token, letter in enumerate("YesNoyn ")}, []))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def pieces(vocabulary: list[str]) -> Tokenizer:
    """Byte-level, as GPT-2's: a word after a space is another token than the same word without."""
    alphabet = ["Y", "e", "s", "N", "o", "y", "n", "E", "S", "O", "Ġ"]
    merges = [("Y", "e"), ("Ye", "s"), ("N", "o"), ("Ġ", "Yes"), ("Ġ", "No"), ("y", "e"), ("ye", "s"), ("n", "o")]
    known = [*alphabet, "Ye", "Yes", "No", "ĠYes", "ĠNo", "ye", "yes", "no"]
    tokenizer = Tokenizer(models.BPE({text: token for token, text in enumerate(known)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(vocabulary)
    return tokenizer


def test_every_spelling_that_is_one_token_counts():
    tokenizer = pieces(["YES"])
    answers = find_answers(tokenizer)
    assert list(answers.yes) == ["Yes", "yes", "YES", " Yes"]
    assert list(answers.no) == ["No", "no", " No"]
    for spelling, token in [*answers.yes.items(), *answers.no.items()]:
        assert tokenizer.decode([token]) == spelling
    assert not set(answers.yes.values()) & set(answers.no.values())


def test_answers_of_several_tokens_are_refused(bare_folder, named):
    with pytest.raises(MaibenchError, match=r"the tokenizer writes 'Yes' as 3 tokens.*--set moondream\.yes=\[17\]"):
        load_detector("moondream", weights=bare_folder, tokenizer=named(letters()))


@pytest.mark.parametrize("without", [("Yes", "No"), ("No",)])
def test_answers_that_are_unknown_words_are_refused(bare_folder, named, words, without):
    with pytest.raises(MaibenchError, match=f"the tokenizer writes '{without[0]}' as 1 tokens or as an unknown one"):
        load_detector("moondream", weights=bare_folder, tokenizer=named(words(without=without)))


def test_given_answers_help_where_the_tokenizer_does_not(bare_folder, named):
    detector = load_detector(
        "moondream", weights=bare_folder, tokenizer=named(letters()), question="Yes no", yes=[1], no=[2]
    )
    detector.check_ready()
    assert list(detector.answers.yes.values()) == [1]


def test_other_words_for_the_answers(bare_folder, named, words):
    tokenizer = named(words(more=("Fake", "fake", "Real", "A", "B")))
    told = {"weights": bare_folder, "tokenizer": tokenizer, "question": "Is this a photo?"}
    fake, turned = (
        load_detector("moondream", answers="Fake/Real", **told),
        load_detector("moondream", answers="No / Yes", **told),
    )
    known = Tokenizer.from_file(str(tokenizer)).token_to_id
    assert fake.answer_ids == ((known("Fake"), known("fake")), (known("Real"),))
    assert turned.answer_ids == ((known("No"), known("no"), known("NO")), (known("Yes"), known("yes")))
    assert (fake.facts()["synthetic"], turned.facts()["synthetic"]) == ("Fake", "No")
    plain = load_detector("moondream", **told)
    assert (plain.answers.yes, plain.answers.no) == (turned.answers.no, turned.answers.yes)
    assert plain.facts()["synthetic"] == "yes"


@pytest.mark.parametrize(
    ("options", "reason", "kind"),
    [
        ({"answers": "Fake/Real"}, "the tokenizer writes 'Fake' as 1 tokens or as an unknown one", DetectorError),
        ({"answers": "Yes/yes"}, "the tokenizer writes 'Yes' and 'yes' as the same token", DetectorError),
        (
            {"answers": "Yes"},
            "answers is two words, the one for synthetic first, as in Yes/No; got 'Yes'",
            MaibenchError,
        ),
        ({"answers": ["Yes", "No"]}, "answers is two words", MaibenchError),
        ({"answers": "Yes/No", "yes": [1], "no": [2]}, "answers is given, or .*yes and .*no, not all", MaibenchError),
    ],
)
def test_words_that_cannot_be_answers(shared_folder, options, reason, kind):
    with pytest.raises(kind, match=reason):
        load_detector("moondream", weights=shared_folder, **options)


def test_a_tokenizer_that_is_larger_than_the_vocabulary(bare_folder, named, words):
    words_of_another = words(more=tuple(f"word{number}" for number in range(60)))
    with pytest.raises(MaibenchError, match=r"own\.json: has token ids up to 76, the weights know 64 tokens"):
        load_detector("moondream", weights=bare_folder, tokenizer=named(words_of_another))


def test_the_tokenizer_of_an_older_revision_beside_newer_weights_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    file = tmp_path / "tokenizer.json"
    Tokenizer(models.WordLevel({"!": 0, "Yes": 1, "No": 2}, unk_token="!")).save(str(file))
    checkpoint = Checkpoint("here", MoondreamConfig(), (tmp_path / "model.safetensors",), file)
    with pytest.raises(MaibenchError, match=r"of an older revision.*hf download moondream/starmie-v1 tokenizer\.json"):
        open_tokenizer(checkpoint, None)
    assert open_tokenizer(checkpoint, file) is not None  # who names it, means it


def test_a_tokenizer_with_ids_beyond_the_vocabulary(bare_folder, named):
    sparse = Tokenizer(models.WordLevel({"Yes": 1000, "No": 1001, "[UNK]": 3}, unk_token="[UNK]"))
    with pytest.raises(MaibenchError):
        load_detector("moondream", weights=bare_folder, tokenizer=named(sparse)).check_ready()


@pytest.mark.parametrize("content", ["", "{}", "[]", "garbage", '{"model": {"type": "Unheard"}}'])
def test_a_file_that_is_no_tokenizer(bare_folder, tmp_path, content):
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(MaibenchError, match=r"own\.json: not a tokenizer\.json"):
        load_detector("moondream", weights=bare_folder, tokenizer=tmp_path / "own.json")


def test_no_tokenizer_at_the_named_place(bare_folder, tmp_path):
    for place in ("own.json", tmp_path, tmp_path / "own.json"):
        with pytest.raises(MaibenchError, match=r"no tokenizer\.json there"):
            load_detector("moondream", weights=bare_folder, tokenizer=place)


def test_a_tokenizer_elsewhere(bare_folder, shared_folder, named, words, asked):
    for place in (named(words()), shared_folder, str(shared_folder / "tokenizer.json")):
        detector = load_detector("moondream", weights=bare_folder, tokenizer=place)
        assert list(detector.prompt_ids) == list(asked.prompt_ids) == [1, 2, 4, 5, 6, 7, 3]
        assert detector.answers == asked.answers


def test_a_folder_without_a_tokenizer_takes_ids_and_says_what_is_missing(bare_folder, pictures, asked):
    detector = load_detector("moondream", weights=bare_folder)
    found = detector.next_token_logits(pictures[:1], asked.prompt_ids)
    torch.testing.assert_close(found, asked.next_token_logits(pictures[:1], asked.prompt_ids), rtol=0, atol=1e-5)
    batch = detector.collate([detector.preprocess(pictures[0])])
    for ask in (detector.check_ready, lambda: detector(batch), lambda: detector.ask(pictures, ["Is this real?"])):
        with pytest.raises(MaibenchError, match=r"has no tokenizer\.json.*moondream\.tokenizer=FILE.*moondream\.yes="):
            ask()


def test_the_logit_by_hand(bare_folder, pictures):
    detector = load_detector("moondream", weights=bare_folder, **GIVEN, prefix=[1, 9], suffix=[3, 3])
    detector.check_ready()
    assert list(detector.prompt_ids) == [1, 9, 5, 6, 3, 3]
    batch = detector.collate([detector.preprocess(pixels) for pixels in pictures])
    with torch.inference_mode():
        logits, unsure = detector.answer(batch)
        torch.testing.assert_close(detector(batch), logits, rtol=0, atol=0)
    next_token = detector.next_token_logits(pictures, [1, 9, 5, 6, 3, 3]).double()
    expected = next_token[:, [17, 18]].logsumexp(-1) - next_token[:, 21]
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=1e-4)
    mass = next_token.softmax(-1)[:, [17, 18, 21]].sum(-1)
    assert unsure.tolist() == (mass < 0.5).tolist()
    assert expected.std() > 0.01


def test_the_least_mass_decides_what_is_unsure(bare_folder, pictures):
    def unsure(least):
        detector = load_detector("moondream", weights=bare_folder, **GIVEN, min_mass=least)
        with torch.inference_mode():
            return detector.answer(detector.collate([detector.preprocess(pixels) for pixels in pictures]))[1].tolist()

    detector = load_detector("moondream", weights=bare_folder)
    next_token = detector.next_token_logits(pictures, [1, 2, 5, 6, 3]).softmax(-1)
    masses = next_token[:, [17, 18, 21]].sum(-1).tolist()
    assert unsure(0) == [False] * 3
    assert unsure(1) == [True] * 3
    middle = sorted(masses)[1]
    assert unsure(middle * 1.01) == [mass < middle * 1.01 for mass in masses]
    assert len(set(unsure(middle * 1.01))) == 2


def test_a_token_that_two_spellings_share_counts_once(shared_folder, pictures):
    """The tokenizer of whole words writes " Yes" as it writes "Yes"."""
    detector = load_detector("moondream", weights=shared_folder)
    yes, no = (sorted(set(found.values())) for found in (detector.answers.yes, detector.answers.no))
    masses = detector.next_token_logits(pictures, detector.prompt_ids).softmax(-1)[:, yes + no].sum(-1)
    detector = load_detector("moondream", weights=shared_folder, min_mass=1.5 * masses.max().item())
    with torch.inference_mode():
        assert detector.answer(detector.collate([detector.preprocess(pixels) for pixels in pictures]))[1].all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"question": [64], "yes": [17], "no": [21]}, "64 is not a token id; they run from 0 to 63"),
        ({"question": [-1], "yes": [17], "no": [21]}, "-1 is not a token id"),
        ({"question": ["Is"], "yes": [17], "no": [21]}, "question is a list of token ids"),
        ({"question": [5], "yes": [17], "no": [21], "suffix": [64]}, "64 is not a token id"),
        ({"question": [5], "yes": [64], "no": [21]}, "64 is not a token id"),
        ({"question": [5], "yes": [17], "no": [True]}, "is a list of token ids"),
        ({"question": [5], "yes": [1.0], "no": [21]}, r"is a list of token ids"),
        ({"question": [5], "yes": [17, 21], "no": [21]}, "two lists of ids that share none"),
        ({"question": [5], "yes": [], "no": [21]}, "two lists of ids that share none"),
        ({"question": [5], "yes": [17]}, "given together, or neither"),
        ({"question": [5], "no": [17]}, "given together, or neither"),
        ({"question": [5], "yes": 17, "no": 21}, "moondream"),
        ({"question": 5, "yes": [17], "no": [21]}, "moondream"),
        ({"question": [5] * 68, "yes": [17], "no": [21]}, "71 tokens after the image are too many: 70 fit"),
        ({"min_mass": 2}, r"moondream\.min_mass is a share of probability, from 0 to 1; got 2"),
        ({"min_mass": -0.1}, "from 0 to 1"),
        ({"min_mass": float("nan")}, "from 0 to 1"),
        ({"min_mass": "half"}, "from 0 to 1; got 'half'"),
        ({"dtype": "float8"}, r"moondream\.dtype 'float8': there are auto, float32, bfloat16, float16"),
    ],
)
def test_wrong_options(bare_folder, options, reason):
    with pytest.raises(MaibenchError, match=reason):
        load_detector("moondream", weights=bare_folder, **options).check_ready()


@pytest.mark.parametrize("question", ["", "  ", "\n", []])
def test_an_empty_question(shared_folder, question):
    with pytest.raises(MaibenchError, match=r"moondream\.question is empty"):
        load_detector("moondream", weights=shared_folder, question=question).check_ready()


def test_a_prompt_that_just_fits(bare_folder, pictures):
    detector = load_detector("moondream", weights=bare_folder)
    assert detector.next_token_logits(pictures[:1], [5] * 70).shape == (1, 64)
    for ids, reason in (([5] * 71, "71 tokens .* 70 fit"), ([], "the prompt is empty"), ([64], "64 is not a token id")):
        with pytest.raises(MaibenchError, match=reason):
            detector.next_token_logits(pictures[:1], ids)
    with pytest.raises(MaibenchError, match="71 tokens after the image are too many"):
        detector.generate(pictures[:1], [5] * 61, max_tokens=10)
