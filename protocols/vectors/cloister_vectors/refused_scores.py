"""Announcements that must be refused where the plan asks for scores (ROUND-10, ALIGN-16)."""

from .hashing import body_digest
from .member import Dealer
from .planning import check_plan, without_privacy
from .refusal import step_of
from .refused_plans import noised_scores, regions_in_place, scaled_in_place, scored_in_place
from .roster import COORDINATOR
from .statements import body_bytes
from .withheld import check_scores

DEALER, RECEIVER = 3, "custodian 2"


class ScoredPlan:
    """The plan of the first round with scores, and announcements that answer it."""

    def __init__(self, refusals, chosen):
        self.refusals, self.first = refusals, refusals.first
        self.plan = self.first.plan | {"settings": chosen}
        check_plan(self.plan, self.first.roster, self.first.vouched)
        self.digest = body_digest(body_bytes("RoundPlan", self.plan))

    def message(self):
        """The plan as the coordinator sends it."""
        statement = self.refusals.signed("RoundPlan", self.plan, COORDINATOR)
        return {"Plan": {"plan": statement, "receiving_keys": self.first.vouched, "previous": None}}

    def announcement(self, number, sketches):
        """A member's announcement with these scores."""
        threshold = self.first.roster.floors["reveal_threshold"]
        dealer = Dealer(number, self.first.draw_label(number), self.plan, self.digest, threshold)
        body = dealer.announcement(dealer.letters(), sketches, [])
        return {"Announcement": self.refusals.signed("Announcement", body, number)}


def score(block, value, tokens=0):
    """An announced score."""
    return {"block": block, "values": {"Score": value}, "tokens": tokens}


def broken_scores(coordinates):
    """Announced scores that the plan does not ask for: what is wrong, sketches."""
    signs = {"values": {"Signs": bytes(coordinates // 8)}}
    projections = {"values": {"Projections": {"region": [1] * coordinates, "update": [1] * coordinates}}}
    yield "a score for one group, none for the other", [score(0, 5000), score(2, None)]
    yield "no score for one group, a score for the other", [score(0, None), score(2, 5000)]
    yield "a group without an entry", [score(0, 5000)]
    yield "no entries", []
    yield "a score for each expert", [score(0, 5000), score(1, 5000), score(2, 5000)]
    yield "no score for each expert", [score(0, None), score(1, None), score(2, None)]
    yield "a score under another expert of the group", [score(1, 5000), score(2, 5000)]
    yield "a score under a block that is no expert", [score(0, 5000), score(3, 5000)]
    yield "scores not ascending", [score(2, 5000), score(0, 5000)]
    yield "a group twice", [score(0, 5000), score(0, 5000), score(2, 5000)]
    yield "a score with a token count", [score(0, 5000, tokens=30), score(2, 5000)]
    yield "the second score with a token count of 1", [score(0, 5000), score(2, 5000, tokens=1)]
    yield "no score, with a token count", [score(0, None), score(2, None, tokens=30)]
    yield "projections in place of a score", [score(0, 5000) | projections, score(2, 5000)]
    yield "signs in place of a score", [score(0, 5000) | signs, score(2, 5000)]


def unusual_plans(chosen):
    """Plans with scores that are at a border of PLAN-22, and must be accepted: what is unusual, settings."""
    public = regions_in_place(without_privacy(chosen))
    yield "without regions and without noise of scores, with private training", noised_scores(chosen, 0)
    yield "with the least noise of scores, without private training", noised_scores(public, 256)
    yield "with regions of one step", scaled_in_place(chosen, 0, 1, 16)
    yield "with regions of 1,024 steps and their least noise", scaled_in_place(chosen, -10, 1024, 16)


def add_after_unusual_plans(refusals):
    """At a custodian that has taken such a plan, and an announcement that answers it."""
    at, good = refusals.place(RECEIVER, "Plan"), [score(0, 5000), score(2, -5000)]
    for about, chosen in unusual_plans(refusals.first.settings):
        scored = ScoredPlan(refusals, chosen)
        check_scores(chosen, good)
        refusals.add(
            at, RECEIVER, "announcement", f"by scores, after a plan {about}, one score alone",
            scored.announcement(DEALER, good[:1]), before=[scored.message(), scored.announcement(1, good)], fork=True,
        )


def add(refusals):
    """At a custodian that has taken a plan with scores, and two announcements that answer it."""
    chosen = scored_in_place(refusals.first.settings)
    scored = ScoredPlan(refusals, chosen)
    accepted = {1: [score(0, 2**31 - 1), score(2, -(2**31))], 2: [score(0, None), score(2, None)]}
    for sketches in accepted.values():
        check_scores(chosen, sketches)
    before = [scored.message(), *(scored.announcement(*one) for one in accepted.items())]
    at = refusals.place(RECEIVER, "Plan")
    for about, sketches in broken_scores(chosen["sketch"]["coordinates"]):
        assert step_of(check_scores, chosen, sketches) == "announcement", about
        refusals.add(
            at, RECEIVER, "announcement", f"by scores, {about}", scored.announcement(DEALER, sketches),
            before=before, fork=True,
        )
    add_after_unusual_plans(refusals)
