"""Whether a detector does what every detector has to do."""

from maibench.evaluation.conformance.checks import check
from maibench.evaluation.conformance.findings import Finding, is_clean

__all__ = ["Finding", "check", "is_clean"]
