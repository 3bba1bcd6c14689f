"""What attribution calls its answers; needs no torch, as tables do not."""

REAL = "real"
"""The class of photographs."""
OTHER = "other"
"""The class of the generators that have too few training images for a class of their own."""
UNKNOWN = "unknown"
"""The answer for an image that is stranger than a head's threshold."""
