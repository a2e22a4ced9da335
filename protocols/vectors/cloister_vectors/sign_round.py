"""The first round by signs (ALIGN-14, ALIGN-15)."""

from .planning import settings
from .round_one import RoundOne


class SignRound(RoundOne):
    """Members announce signs in place of projections; two leave as in the first round."""

    closed = {}

    def planned(self):
        """The settings of the first round, with signs."""
        return settings() | {"scoring": settings()["scoring"] | {"sketches": "Signs"}}
