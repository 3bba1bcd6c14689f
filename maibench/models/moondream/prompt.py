"""From a question to token ids, and from the vocabulary to the tokens that count as answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maibench.errors import DetectorError, MaibenchError
from maibench.models.moondream.checkpoint import Checkpoint, fetch
from maibench.models.moondream.config import TOKENIZER, TextConfig, spellings

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Answers:
    """{spelling: token id} of the two answers; the score is the log-odds between their summed probabilities."""

    yes: dict[str, int]
    no: dict[str, int]


def open_tokenizer(checkpoint: Checkpoint, named: str | Path | None) -> Tokenizer | None:
    """The tokenizer that was named (a tokenizer.json, its folder or a repository), else the checkpoint's own, else the
    official one: fetched where the weights were, only from the cache where they are a folder; else None.

    Raises MaibenchError for a file that is not a tokenizer, or one that writes tokens that the weights do not know.
    """
    if named is not None:
        return _read(_named(named), checkpoint)
    if checkpoint.tokenizer is not None:
        own = _read(checkpoint.tokenizer, checkpoint)
        if not _is_older(own, checkpoint):
            return own
    file = _official(checkpoint)
    if file is None and checkpoint.tokenizer is not None:
        raise MaibenchError(
            f"{checkpoint.tokenizer}: the tokenizer of an older revision, beside newer weights; fetch theirs: hf "
            f"download {TOKENIZER} tokenizer.json --local-dir {checkpoint.tokenizer.parent}"
        )
    return None if file is None else _read(file, checkpoint)


def _read(file: Path, checkpoint: Checkpoint) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception for what is not a tokenizer
        raise MaibenchError(f"{file}: not a tokenizer.json ({error})") from error
    vocabulary = checkpoint.settings.text.vocab_size
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= vocabulary:
        raise MaibenchError(
            f"{file}: has token ids up to {largest}, the weights know {vocabulary} tokens; it belongs to others"
        )
    return tokenizer


def find_answers(tokenizer: Tokenizer, words: tuple[str, str] = ("Yes", "No")) -> Answers:
    """Every spelling of the two answers that is a single token. words: the one for synthetic, the one for real.

    Raises DetectorError for a tokenizer in which one of the words itself is several tokens, or both share one.
    """
    yes, no = (
        {text: single for text in spellings(word) if (single := _single(tokenizer, text)) is not None} for word in words
    )
    for word, found in zip(words, (yes, no), strict=True):
        if word not in found:
            ids = tokenizer.encode(word, add_special_tokens=False).ids
            raise DetectorError(
                f"the tokenizer writes '{word}' as {len(ids)} tokens or as an unknown one, so its probability is not a "
                "single number; give the ids that count, as in --set moondream.yes=[17] --set moondream.no=[21]"
            )
    if set(yes.values()) & set(no.values()):
        raise DetectorError(f"the tokenizer writes '{words[0]}' and '{words[1]}' as the same token")
    return Answers(yes, no)


def _single(tokenizer: Tokenizer, text: str) -> int | None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    # what is read back tells an unknown token from a word
    return ids[0] if len(ids) == 1 and tokenizer.decode(ids).strip() == text.strip() else None


def _named(place: str | Path) -> Path:
    path = Path(place)
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return path
    if "/" in str(place) and path.suffix != ".json":
        return fetch(str(place), ("tokenizer.json",)) / "tokenizer.json"
    raise MaibenchError(f"{place}: no tokenizer.json there")


def _is_older(tokenizer: Tokenizer, checkpoint: Checkpoint) -> bool:
    """A repository may keep the tokenizer.json of moondream's first revisions (CodeGen's, in which id 0 is an
    exclamation mark) beside weights since 2025-05-31, which read id 0 as BOS."""
    settings = checkpoint.settings
    is_official = settings.text.vocab_size == TextConfig().vocab_size
    return is_official and tokenizer.id_to_token(settings.tokenizer.bos_id) == "!"


def _official(checkpoint: Checkpoint) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if checkpoint.settings.text.vocab_size != TextConfig().vocab_size:
        return None
    if checkpoint.from_hub:
        return fetch(TOKENIZER, ("tokenizer.json",)) / "tokenizer.json"
    cached = try_to_load_from_cache(TOKENIZER, "tokenizer.json")
    return Path(cached) if isinstance(cached, str) else None
