"""Two rounds from the same parameters: the first leaves them as they were, the second opens the same blocks over the same members."""

from .contributions import Contribution
from .hashing import body_digest
from .openings import opening_name, routing_of
from .planning import planned_block, settings
from .round_one import LATER_SEALERS, LEFT_BEFORE_UPLOAD, RoundOne

BLOCKS = [("Shared", 5), *(({"Routing": {"layer": layer}}, 2 + layer) for layer in range(3))]


class UnchangedRound(RoundOne):
    """All sums are zero, so that the model stays what it was; one member leaves before it uploads."""

    left_before_reveal, closed = None, {}

    def planned(self):
        """Blocks that zero leaves unchanged."""
        return settings() | {"blocks": [planned_block(number, *row) for number, row in enumerate(BLOCKS)]}

    def contributed(self, number):
        """Nothing but zeros."""
        made = Contribution(number, self.settings)
        made.integers = [[0] * len(values) for values in made.integers]
        return made

    def opening_names(self):
        """ROUND-30: what each opened block is named by."""
        return {block: self.opening_name(block) for block in self.summed}

    def opening_name(self, block):
        """The name of one block's opening."""
        planned, routing = self.settings["blocks"][block], routing_of(self.plan, block)
        return opening_name(planned, self.summed_cohort(block), routing)

    def summed_cohort(self, block):
        """`S2[b]` with weights."""
        return [entry for entry in self.cohorts[block]["members"] if entry["member"] in self.summed[block][0]]


class RepeatingRound(UnchangedRound):
    """The round after, without the member that left: its cohorts are those that were summed before."""

    number, left_before_upload, first_sealers = 2, None, LATER_SEALERS

    def __init__(self, first):
        self.first = first
        super().__init__()
        assert self.opening_names() == first.opening_names() and self.model == first.model == self.closed_model

    def begin(self):
        """Continues the script of the first round."""
        self.script, self.model = self.first.script, self.first.closed_model
        self.members = [m for m in self.roster.members if m != LEFT_BEFORE_UPLOAD]
        self.holders = LATER_SEALERS
        self.previous, self.last_ending = body_digest(self.first.closing), self.first.ending

    def draw_label(self, number):
        """Other secrets than in the first round."""
        return f"member {number} in round 2"
