"""Statistics warn of nothing."""

import pytest


@pytest.fixture(autouse=True)
def _strict(warnings_are_errors):
    """All tests here."""
