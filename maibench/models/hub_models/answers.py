"""The tokens that count as an answer: every spelling of a word that is a single token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maibench.errors import DetectorError, MaibenchError
from maibench.models.device import to_device
from maibench.models.moondream.config import spellings

SPACES = ("Ġ", "▁")
"""The space before a word, as the two families of vocabularies write it."""


def find_tokens(tokenizer: Any, words: object, option: str) -> dict[str, int]:
    """{spelling: token id} of an answer.

    words: a word, or a list of words or of token ids; of a word every spelling counts (yes, Yes, YES, with and without
    a space before it) that is a single token. option: "yes" or "no", for messages. Raises DetectorError where none is,
    MaibenchError for what is neither a word nor a token id.
    """
    wanted = list(words) if isinstance(words, (list, tuple)) else [words]
    found: dict[str, int] = {}
    for word in wanted:
        if isinstance(word, int) and not isinstance(word, bool):
            found[f"id {_checked(tokenizer, word, option)}"] = word
        elif isinstance(word, str) and word.strip():
            found |= _spellings(tokenizer, word.strip(), option)
        else:
            raise MaibenchError(f"{option} is a word, or a list of words or token ids; got {word!r}")
    if not found:
        raise MaibenchError(f"{option} is empty; give a word")
    return found


def log_odds(logits: Tensor, yes: Sequence[int], no: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(n, vocabulary) logits of the next token -> (n,) logsumexp(yes) - logsumexp(no), and (n,) the probability of both
    together."""
    of_yes, of_no = (logits.index_select(-1, ids).logsumexp(-1) for ids in _ids(logits, yes, no))
    return of_yes - of_no, (torch.logaddexp(of_yes, of_no) - logits.logsumexp(-1)).exp()


def answer_loss(logits: Tensor, labels: Tensor, yes: Sequence[int], no: Sequence[int]) -> Tensor:
    """Mean of -log P(the right answer, in any of its spellings) over the whole vocabulary; (n,) labels, 1 is yes."""
    of_yes, of_no = (logits.index_select(-1, ids).logsumexp(-1) for ids in _ids(logits, yes, no))
    return (logits.logsumexp(-1) - torch.where(labels > 0, of_yes, of_no)).mean()


def _ids(logits: Tensor, *tokens: Sequence[int]) -> Any:
    return to_device([torch.tensor(list(ids)) for ids in tokens], logits.device)


def _spellings(tokenizer: Any, word: str, option: str) -> dict[str, int]:
    vocabulary = tokenizer.get_vocab()
    plain = spellings(word)
    single = {text: _single(tokenizer, text) for text in plain}
    single |= {space + text: vocabulary.get(space + text) for space in SPACES for text in plain if text[0] != " "}
    found: dict[str, int] = {}
    for text, token in single.items():
        if token is not None and token not in found.values():  # two spellings may be one token, which counts once
            found[text] = token
    if not found:
        pieces = tokenizer.convert_ids_to_tokens(tokenizer.encode(word, add_special_tokens=False))
        raise DetectorError(
            f"the tokenizer writes '{word}' as {len(pieces)} tokens or as an unknown one ({pieces}), so its "
            f"probability is not a single number: take another word (--set LABEL.{option}=WORD; the prompt then asks "
            f"for it), or give the token ids that count (--set LABEL.{option}=[17])"
        )
    return found


def _single(tokenizer: Any, text: str) -> int | None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    # what is read back tells an unknown token from a word
    return ids[0] if len(ids) == 1 and tokenizer.decode(ids).strip() == text.strip() else None


def _checked(tokenizer: Any, token: int, option: str) -> int:
    if not 0 <= token < len(tokenizer):
        raise MaibenchError(f"{option}={token}: is no token id; they run from 0 to {len(tokenizer) - 1}")
    return token
