"""The names of openings (ROUND-30)."""

from .canonical import encode
from .hashing import digest
from .schema import BLOCK_SHAPE, COHORT_MEMBERS, SCALE


def opening_name(planned, cohort):
    """What an opening of a planned block over members with weights is named by."""
    return digest(
        "opening", encode(BLOCK_SHAPE, planned["shape"]), encode(SCALE, planned["scale"]), encode(COHORT_MEMBERS, cohort)
    )
