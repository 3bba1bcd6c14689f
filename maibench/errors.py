"""The project's own exceptions; only `cli.py` turns them into exit codes."""


class MaibenchError(Exception):
    """The request is wrong, and the message says what, where, and what to do: exit code 2."""


class DetectorError(MaibenchError):
    """One detector of several cannot be used: its row says why, the others go on, exit code 1."""


class DiskError(MaibenchError):
    """A file or folder cannot be written: the run stops, with what was scored kept."""


class ImageError(MaibenchError):
    """One image cannot be read or scored: a failed row with this message as its reason."""
