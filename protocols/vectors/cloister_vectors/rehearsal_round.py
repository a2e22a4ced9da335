"""A rehearsal (ROUND-39): members contribute zeros, and the model stays as it is."""

from .contributions import Contribution
from .planning import settings
from .round_one import RoundOne


class RehearsalRound(RoundOne):
    """One member leaves before it uploads, and another before it reveals, as in the first round."""

    closed = {}

    def planned(self):
        """The settings of the first round, for a rehearsal."""
        return settings() | {"rehearsal": True}

    def contributed(self, number):
        """Zeros, without noise."""
        made = Contribution(number, self.settings)
        made.integers = [[0] * len(values) for values in made.integers]
        for sketch in made.sketches:
            zeros = [0] * self.settings["sketch"]["coordinates"]
            sketch |= {"values": {"Projections": {"region": zeros, "update": zeros}}, "tokens": 0}
        return made

    def applied(self, block):
        """No sum of a rehearsal is applied."""
        return self.model[block]
