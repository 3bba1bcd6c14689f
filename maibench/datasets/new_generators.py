"""Names of generators that a command line gives."""

from __future__ import annotations

import re
from collections.abc import Sequence

from maibench.datasets.manifest import check_generators
from maibench.errors import MaibenchError


def check_names(names: Sequence[str], what: str, flag: str) -> None:
    """Raise MaibenchError for a name that occurs twice, or that cannot be a generator's in a manifest.

    what: the things that are named, as in "autoencoders"; flag: which names them.
    """
    for name in names:
        if list(names).count(name) > 1:
            raise MaibenchError(f"two {what} are called '{name}': name one of them, as in {flag} other={name}")
        if name == "real" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise MaibenchError(
                f"'{name}' cannot name a generator (letters, digits, '.', '_', '-'; not 'real'); "
                f"choose another, as in {flag} NAME=PATH"
            )
    check_generators(names, flag)
