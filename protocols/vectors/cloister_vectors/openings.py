"""The names of openings (ROUND-30)."""

from .canonical import Optional, encode
from .hashing import digest
from .schema import BLOCK_SHAPE, COHORT_MEMBERS, DIGEST, SCALE


def opening_name(planned, cohort, routing=None):
    """What an opening of a planned block over members with weights is named by; `routing` is for routers."""
    fields = [(BLOCK_SHAPE, planned["shape"]), (SCALE, planned["scale"]), (COHORT_MEMBERS, cohort)]
    return digest("opening", *(encode(*field) for field in fields), encode(Optional(DIGEST), routing))


def routing_of(plan, block):
    """The digest of the routing distribution by which members weigh their updates of a router (ALIGN-11)."""
    kinds = [row["shape"]["kind"] for row in plan["settings"]["blocks"]]
    if "Router" not in kinds[block]:
        return None
    routing = {"Routing": kinds[block]["Router"]}
    return plan["parameters"][kinds.index(routing)] if routing in kinds else None


def without_closed(cohorts, closed, reaches_floor):
    """ALIGN-13: cohorts without the members for whom their block is closed; void where the others are too few."""
    for cohort in cohorts:
        cohort["members"] = [one for one in cohort["members"] if cohort["block"] not in closed[one["member"]]]
        if not reaches_floor([one["member"] for one in cohort["members"]]):
            cohort |= {"members": [], "choice": "Void"}
    return cohorts
