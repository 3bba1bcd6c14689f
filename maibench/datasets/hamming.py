"""All pairs of 64-bit hashes that differ in few bits: exact, and fast where hashes are many or crowded.

Pigeonhole: cut the 64 bits into b blocks. Two hashes that differ in at most d bits differ in at most d blocks, so they
agree in some b - d of them; for each choice of b - d blocks, the hashes are sorted by these, and only those that agree
there are compared (the block permutation of Manku, Jain and Das Sarma, "Detecting Near-Duplicates for Web Crawling",
WWW 2007). More blocks mean more sorting and fewer comparisons: hashes of pictures crowd together, so b is chosen by
what a sample of them costs, and each block gets its share of the bits that vary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from maibench.errors import MaibenchError

Hashes = NDArray[np.uint64]
Pieces = list[tuple[int, int, int]]
"""How bits move within a word: (from this bit, to that bit, how many)."""

MAX_PAIRS = 20_000_000
"""More are not listed: where one hash has n copies, their pairs alone are n (n - 1) / 2."""
MAX_DISTANCE = 8
_BITS = 64
_MORE_BLOCKS = 7
_SAMPLE, _TABLES_TRIED = 1 << 16, 6
_SORT, _COMPARE = 50.0, 15.0
"""What a hash costs in a table, and a comparison, in nanoseconds; only their ratio matters."""


def neighbours(hashes: Hashes, distance: int = 4) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Every pair of hashes that differ in at most `distance` bits, with the number of bits.

    hashes: uint64 (n,). Returns pairs (m, 2) of positions, i < j, sorted, and distances (m,). Exact. Memory: a few
    times the hashes and the pairs. Raises MaibenchError for a distance outside [0, 8] or more than MAX_PAIRS pairs.
    """
    hashes = np.ascontiguousarray(hashes, dtype=np.uint64)
    if not 0 <= distance <= MAX_DISTANCE:
        raise MaibenchError(f"the distance of two hashes is sought up to {MAX_DISTANCE} of 64 bits; got {distance}")
    order = np.argsort(hashes, kind="stable")
    values, starts, counts = np.unique(hashes[order], return_index=True, return_counts=True)
    copied = np.flatnonzero(counts > 1)
    left, right, apart = [copied], [copied], [np.zeros(len(copied), dtype=np.uint8)]
    listed = float((counts[copied].astype(float) * (counts[copied] - 1) / 2).sum())
    for first, second, bits in distinct_neighbours(values, distance):
        listed += float((counts[first].astype(float) * counts[second]).sum())
        if listed > MAX_PAIRS:
            break
        left.append(first)
        right.append(second)
        apart.append(bits)
    if listed > MAX_PAIRS:
        raise MaibenchError(
            f"more than {MAX_PAIRS:,} pairs of {len(hashes):,} images look alike (one hash alone has "
            f"{counts.max():,} images): leave out what has no structure, and copies of one file"
        )
    a, b, between = np.concatenate(left), np.concatenate(right), np.concatenate(apart)
    size = counts[a] * counts[b]
    pair = np.repeat(np.arange(len(a)), size)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(size) - size, size)
    one, other = within // counts[b][pair], within % counts[b][pair]
    kept = (a[pair] != b[pair]) | (one < other)
    pair, one, other = pair[kept], one[kept], other[kept]
    ends = np.stack([order[starts[a[pair]] + one], order[starts[b[pair]] + other]], axis=1)
    ends.sort(axis=1)
    by_ends = np.lexsort((ends[:, 1], ends[:, 0]))
    return ends[by_ends], between[pair][by_ends]


def distinct_neighbours(
    values: Hashes, distance: int = 4
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]]:
    """The same for hashes that are sorted and distinct, in parts of at most n pairs: positions, positions, distances.

    Each pair comes once, in no order.
    """
    if distance == 0 or len(values) < 2:
        return
    blocks, own = _cheapest(values, distance)
    words = _moved(values, own)
    by_word = np.argsort(words)
    words = words[by_word]
    tables = _tables(blocks, distance)
    chosen = np.array([sum(1 << block for block in table) for table in tables])
    differing = np.arange(1 << len(blocks))
    first_table = ((differing[:, None] & chosen) == 0).argmax(axis=1)
    for number, table in enumerate(tables):
        pieces, key_bits = _to_front(blocks, table)
        back = [(target, source, width) for source, target, width in pieces]
        for left, right in _agreeing(np.sort(_moved(words, pieces)), key_bits, distance):
            left, right = _moved(left, back), _moved(right, back)
            # a pair that agrees in several choices of blocks is taken in the first of them
            mine = first_table[_differing_blocks(left ^ right, blocks)] == number
            left, right = left[mine], right[mine]
            ends = (by_word[np.searchsorted(words, left)], by_word[np.searchsorted(words, right)])
            yield *ends, np.bitwise_count(left ^ right)


def _agreeing(words: Hashes, key_bits: int, distance: int) -> Iterator[tuple[Hashes, Hashes]]:
    """Of sorted words, those that agree in their `key_bits` upper bits and differ in at most `distance` others."""
    keys = words >> np.uint64(_BITS - key_bits)
    at, step = np.flatnonzero(keys[1:] == keys[:-1]), 1
    while len(at):
        left, right = words[at], words[at + step]
        near = np.bitwise_count(left ^ right) <= distance
        if near.any():
            yield left[near], right[near]
        step += 1
        at = at[: np.searchsorted(at, len(words) - step)]
        at = at[keys[at + step] == keys[at]]


def _cheapest(values: Hashes, distance: int) -> tuple[list[tuple[int, int]], Pieces]:
    """The blocks (first bit, bits) that cost least, and how the bits of a hash move into them."""
    sample = values
    if len(values) > _SAMPLE:
        sample = np.random.default_rng(0).choice(values, _SAMPLE, replace=False)
    scale = (len(values) / len(sample)) ** 2
    ones = np.array([(sample >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(_BITS)])
    most_varied = np.argsort(-ones * (1 - ones), kind="stable").tolist()
    costs = []
    for number in range(distance + 1, distance + 1 + _MORE_BLOCKS):
        blocks, pieces = _dealt(most_varied, number)
        words, tables = _moved(sample, pieces), _tables(blocks, distance)
        tried = tables[:: math.ceil(len(tables) / _TABLES_TRIED)]
        compared = scale * float(np.mean([_comparisons(words, *_to_front(blocks, table)) for table in tried]))
        costs.append((len(tables) * (len(values) * _SORT + compared * _COMPARE), number))
    return _dealt(most_varied, min(costs)[1])


def _dealt(bits: list[int], number: int) -> tuple[list[tuple[int, int]], Pieces]:
    """Deal the bits to `number` blocks, to and fro, so that each gets bits of every rank."""
    hands: list[list[int]] = [[] for _ in range(number)]
    for place, bit in enumerate(bits):
        turn, seat = divmod(place, number)
        hands[seat if turn % 2 == 0 else number - 1 - seat].append(bit)
    starts = np.cumsum([0, *map(len, hands)]).tolist()
    pieces = [(bit, start + at, 1) for start, hand in zip(starts, hands, strict=False) for at, bit in enumerate(hand)]
    return [(start, len(hand)) for start, hand in zip(starts, hands, strict=False)], pieces


def _tables(blocks: list[tuple[int, int]], distance: int) -> list[tuple[int, ...]]:
    return list(combinations(range(len(blocks)), len(blocks) - distance))


def _to_front(blocks: list[tuple[int, int]], table: tuple[int, ...]) -> tuple[Pieces, int]:
    """How bits move so that a table's blocks are the upper ones; how many bits these have."""
    pieces, target = [], _BITS
    for block in [*table, *(block for block in range(len(blocks)) if block not in table)]:
        start, width = blocks[block]
        target -= width
        pieces.append((start, target, width))
    return pieces, sum(blocks[block][1] for block in table)


def _comparisons(words: Hashes, pieces: Pieces, key_bits: int) -> int:
    _, runs = np.unique(_moved(words, pieces) >> np.uint64(_BITS - key_bits), return_counts=True)
    return int((runs * (runs - 1) // 2).sum())


def _moved(words: Hashes, pieces: Pieces) -> Hashes:
    moved = np.zeros_like(words)
    for source, target, width in pieces:
        part = words >> np.uint64(source)
        part &= np.uint64((1 << width) - 1)
        part <<= np.uint64(target)
        moved |= part
    return moved


def _differing_blocks(difference: Hashes, blocks: list[tuple[int, int]]) -> NDArray[np.int64]:
    """A bit a block: whether the difference has a bit in it."""
    found = np.zeros(len(difference), dtype=np.int64)
    for block, (start, width) in enumerate(blocks):
        found |= ((difference >> np.uint64(start) & np.uint64((1 << width) - 1)) != 0).astype(np.int64) << block
    return found
