"""The first round by scores, with a block of regions (ALIGN-16 to ALIGN-18)."""

from .contributions import WITHOUT_SCORES
from .planning import withheld_settings
from .round_one import RoundOne
from .withheld import check_scores


class WithheldRound(RoundOne):
    """Members announce scores in place of sketches, one of them none; two leave as in the first round."""

    closed = {}

    def planned(self):
        """The settings with scores and regions, and a shared rest that follows the experts."""
        chosen = withheld_settings()
        return chosen | {"scoring": chosen["scoring"] | {"shared_cohort": "Majority"}}

    def announce(self):
        """Step 2, with what members announce checked."""
        for made in self.contributions.values():
            check_scores(self.settings, made.sketches)
        super().announce()

    def seal_1(self):
        """Step 3: the member without a score is in every cohort."""
        super().seal_1()
        assert all(WITHOUT_SCORES in [one["member"] for one in cohort["members"]] for cohort in self.cohorts)
