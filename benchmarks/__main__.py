"""`make bench`: every benchmark, or those that are named, each in a process of its own; their ratios kept."""

from __future__ import annotations

import argparse
import difflib
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.each import names, run
from benchmarks.measure import Ratio
from benchmarks.table import keep, text


def main(arguments: list[str] | None = None) -> int:
    """1 where a benchmark failed; a ratio below its floor is said, not punished: the machine may have been busy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())}; all of them by default")
    parser.add_argument("--dry", action="store_true", help="print only, leave results.json and README.md as they are")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in names():
            near = difflib.get_close_matches(name, names(), 1)
            parser.error(f"no benchmark {name!r}" + (f": did you mean {near[0]!r}?" if near else ""))
    failed = []
    measured: list[Ratio] = []
    for name in given.names or names():
        started = time.perf_counter()
        try:
            # its own process: peaks of memory, thread counts and caches of one benchmark are not another's
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                title, rows = pool.submit(run, name).result()
        except Exception:
            traceback.print_exc()
            failed.append(name)
            continue
        measured += rows
        if not given.dry:
            keep(name, title, rows, time.perf_counter() - started)
    print("\n" + text(measured))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
