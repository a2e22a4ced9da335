"""Evidence of bad dealings, plans that bar without it, and announcements of barred members (PLAN-14, ROUND-33)."""

from . import bars
from .bad_dealings import BadDealings
from .bar_files import broken_evidence
from .planning import check_plan
from .refusal import step_of
from .roster import COORDINATOR
from .round_two import BARRED, WITNESS
from .statements import signed

MEMBER, CUSTODIAN = "member 1", "custodian 2"


def add_evidence(refusals):
    """ROUND-33: what no party takes as evidence."""
    dealt = BadDealings(refusals.first, BARRED, WITNESS)
    for receiver in (MEMBER, CUSTODIAN):
        at = refusals.place(receiver, "BadDealing")
        for step, about, evidence in broken_evidence(dealt):
            refusals.add(at, receiver, step, f"evidence: {about}", {"BadDealing": evidence})


def broken_bars(second):
    """Lists of barred members: what is wrong, list."""
    return [
        ("a member that nothing was shown of", [BARRED, 5]), ("another member than was shown", [3]),
        ("not ascending", [5, BARRED]), ("a member twice", [BARRED, BARRED]),
        ("a party that is no member", [BARRED, 9]), ("the coordinator", [COORDINATOR, BARRED]),
    ]


def add_plans(refusals, second):
    """PLAN-14: plans that bar members that nothing was shown of."""
    shown = [bars.check_evidence(second.first.roster, second.evidence)]
    for receiver in (MEMBER, CUSTODIAN):
        at = refusals.place(receiver, "Plan", 1)
        original = refusals.message(at)["Plan"]
        for about, listed in broken_bars(second):
            plan = second.plan | {"barred": listed}
            assert step_of(check_plan, plan, second.first.roster, second.vouched, shown) == "barred-without-evidence"
            message = {"Plan": original | {"plan": refusals.signed("RoundPlan", plan, COORDINATOR)}}
            refusals.add(at, receiver, "barred-without-evidence", f"barred: {about}", message, aloud=True)
        early = refusals.place(receiver, "BadDealing")
        plan = {"Plan": original}
        about = "barred: a member before evidence"
        refusals.add(early, receiver, "barred-without-evidence", about, plan, aloud=True, fork=True)


def add_announcement(refusals, second):
    """PLAN-14: a barred member does not announce."""
    first = second.first
    body = dict(BadDealings(first, BARRED, WITNESS).body)
    again = body | {"round": 2, "plan": second.plan_digest}
    statement = signed("Announcement", again, BARRED, first.seeds[BARRED])
    at = refusals.place(CUSTODIAN, "ProposeAbort")
    refusals.add(at, CUSTODIAN, "announcement", "a barred member", {"Announcement": statement})
    at = refusals.place(MEMBER, "Ended", 1)
    refusals.add(at, MEMBER, "announcement", "a barred member", {"Announcement": statement})


def add(refusals, second):
    """Everything about barred members, in the second round."""
    add_evidence(refusals)
    add_plans(refusals, second)
    add_announcement(refusals, second)
