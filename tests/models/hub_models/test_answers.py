"""Which tokens are an answer, and what is read off them."""

import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from maibench.errors import DetectorError, MaibenchError
from maibench.models.hub_models.answers import answer_loss, find_tokens, log_odds


def test_every_spelling_that_is_one_token_counts_once(tokenizer):
    words = tokenizer()
    vocabulary = words.get_vocab()
    assert find_tokens(words, "yes", "yes") == {"yes": vocabulary["yes"], "Yes": vocabulary["Yes"]}
    assert list(find_tokens(words, "No", "no")) == ["No", "no", "NO"]
    assert find_tokens(words, ["photo", "real"], "no").keys() == {"photo", "real"}
    assert find_tokens(words, [7, 9], "no") == {"id 7": 7, "id 9": 9}


@pytest.mark.parametrize("space", ["Ġ", "▁"])
def test_a_token_with_a_space_before_the_word_counts_too(space):
    """GPT's vocabularies write it in one way, SentencePiece's in the other."""
    vocabulary = {"<unk>": 0, "yes": 1, f"{space}yes": 2, f"{space}Yes": 3, f"{space}yesterday": 4}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    assert sorted(find_tokens(tokenizer, "yes", "yes").values()) == [1, 2, 3]


def test_a_word_of_several_tokens_is_said_with_what_to_do(tokenizer):
    with pytest.raises(DetectorError, match=r"writes 'yes' as 3 tokens .*'y', 'e', 's'.*--set LABEL\.yes=WORD"):
        find_tokens(tokenizer(""), "yes", "yes")
    with pytest.raises(DetectorError, match="writes 'synthetic' as 1 tokens or as an unknown one"):
        find_tokens(tokenizer(), "synthetic", "yes")


@pytest.mark.parametrize("words", ["", " ", [], None, True, [""], [-1], [10**6], {"yes": 1}])
def test_what_is_no_answer_is_a_wrong_request(tokenizer, words):
    with pytest.raises(MaibenchError, match=r"^yes") as error:
        find_tokens(tokenizer(), words, "yes")
    assert not isinstance(error.value, DetectorError)


def test_log_odds_and_mass_are_those_of_the_probabilities():
    logits = torch.randn(6, 11, dtype=torch.float64)
    odds, mass = log_odds(logits, (1, 4), (2,))
    yes, no = logits.softmax(1)[:, [1, 4]].sum(1), logits.softmax(1)[:, 2]
    torch.testing.assert_close(odds, (yes / no).log())
    torch.testing.assert_close(mass, yes + no)


def test_the_loss_is_cross_entropy_where_an_answer_is_one_token():
    logits, labels = torch.randn(6, 11), torch.tensor([1, 0, 0, 1, 1, 0])
    expected = F.cross_entropy(logits, torch.where(labels > 0, 3, 5))
    torch.testing.assert_close(answer_loss(logits, labels, (3,), (5,)), expected)
    even = answer_loss(torch.zeros(2, 10), torch.tensor([1, 0]), (0, 1), (2, 3))
    assert even.item() == pytest.approx(math.log(5))
