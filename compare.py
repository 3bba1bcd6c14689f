"""The front door: the same as `maibench compare`."""

from maibench.cli import compare_main

if __name__ == "__main__":
    compare_main()
