"""Vectors of floors and of scoring."""

from itertools import product

from . import scoring, sketching, withheld_files
from .contributions import Contribution, listed
from .crypto_files import bad
from .floors import floors as floors_of
from .planning import settings
from .roster import the_roster
from .samples import integers

RULE = {
    "sketches": "Pairs", "groups": 0, "score_noise": 0,
    "threshold": "MeanDeviation", "spread_factor": 256, "consensus_fraction": 128,
    "minimum_tokens": 5, "slack": 0, "fallback": "Everyone", "shared_cohort": "Everyone",
}


def floors():
    """FLOOR-01 to FLOOR-04."""
    sizes = [(n, n) for n in range(3, 21)] + [(20, 3), (50, 16), (100, 16), (300, 16), (6, 4), (8, 9)]
    cases = [{"organisations": n, "custodians": c} | floors_of(n, c) for n, c in sizes]
    wrong = [
        bad(step, floors_of, sizes, organisations=sizes[0], custodians=sizes[1])
        for step, sizes in [
            ("members", (0, 5)), ("members", (2, 5)), ("members", (301, 16)),
            ("custodians", (5, 2)), ("custodians", (5, 0)), ("unreachable", (5, 16)), ("unreachable", (3, 4)),
        ]
    ]
    return {"cases": cases, "bad": wrong}


def made_up(label, members, coordinates, spread):
    """Sketches around a shared direction."""
    around = lambda what, at: [
        a + b for a, b in zip(
            integers(f"{label} {what}", coordinates, -700, 700),
            integers(f"{label} {what} {at}", coordinates, -spread, spread),
        )
    ]
    return [projections(around("region", at), around("update", at), 4 + at) for at in range(members)]


def projections(region, update, tokens):
    """An announced sketch of pairs."""
    return {"values": {"Projections": {"region": region, "update": update}}, "tokens": tokens}


def experts():
    """Inputs of scoring: alike, unlike, edges of integer rounding, and sketches that do not count."""
    pair = lambda region, update: projections(region, update, 9)
    opposed = [pair([1000, 0], [7, 0]), pair([1000, 1], [7, 1]), pair([-1000, 0], [-7, 0])]
    zero_update, zero_region = pair([3, 4], [0, 0]), pair([1, 1], [5, 5])
    return [
        ([], [1, 1]), ([pair([3, 4], [1, 2])], [0, 0]), (opposed, [0, 0]), (opposed, [-1, 1]),
        ([*opposed, zero_update, zero_region], [1, 1]),
        ([pair([32767] * 128, [-32768] * 128)] * 3, [0] * 128),
        (made_up("alike", 7, 16, 200), [3] * 16), (made_up("unlike", 8, 32, 3000), [-5] * 32),
        (made_up("some", 9, 64, 900), [0] * 64),
    ]


def scores():
    """ALIGN-02 to ALIGN-06 for one expert."""
    cases = []
    for (sketches, common), kind in product(experts(), ("MeanDeviation", "MedianDeviation")):
        for spread in (0, 200, 700):
            rule = RULE | {"threshold": kind, "spread_factor": spread}
            cases.append({"input": 0, "rule": rule} | scoring.score(sketches, common, rule))
            cases[-1]["input"] = experts().index((sketches, common))
    inputs = [{"sketches": sketches, "common": common} for sketches, common in experts()]
    return {
        "inputs": inputs, "cases": cases, "commons": commons(), "signs": sign_scores(),
        "withheld": withheld_files.consensus_cases(),
    }


def sign_scores():
    """ALIGN-15: members that agree, that differ, that have too few tokens, and nobody."""
    cases = []
    for number, (members, size, spread) in enumerate([(7, 64, 200), (8, 256, 3000), (9, 16, 900), (1, 128, 9), (0, 32, 9)]):
        sketches = []
        for sketch in made_up(f"signs {number}", members, size, spread):
            vectors = scoring.vectors(sketch)
            bits = sketching.signs(vectors["update"], vectors["region"][:size // 2])
            sketches.append({"values": {"Signs": list(bits)}, "tokens": sketch["tokens"]})
        opposed = [{"values": {"Signs": [255 - bit for bit in sketches[0]["values"]["Signs"]]}, "tokens": 9}] if sketches else []
        for listed_sketches in (sketches, sketches + opposed):
            consensus = scoring.sign_score(listed_sketches, RULE, size)
            cases.append({"sketches": listed_sketches, "minimum_tokens": 5, "size": size, "consensus": consensus})
    return cases


def commons():
    """ALIGN-03."""
    cases = []
    for sketches in (made_up("layer", 6, 16, 500), made_up("one", 2, 16, 500)[1:], made_up("few", 1, 16, 9), []):
        direction = scoring.common_direction(sketches, 5, 16)
        cases.append({"sketches": sketches, "minimum_tokens": 5, "coordinates": 16, "common": direction})
    return cases


def cohorts():
    """ALIGN-07 to ALIGN-10 for the roster and block table of the round's vectors; `withheld` has tables of its own."""
    roster, cases = the_roster(), []
    by_signs = settings() | {"scoring": settings()["scoring"] | {"sketches": "Signs"}}
    forms = {"Pairs": settings(), "Signs": by_signs}
    contributions = {
        form: {m: Contribution(m, chosen).sketches for m in roster.members} for form, chosen in forms.items()
    }
    for floor, max_weight, announced, changes in [
        (4, 3, [1, 2, 3, 4, 5, 6], {}),
        (4, 15, [1, 2, 3, 4, 5], {}),
        (5, 1, [1, 2, 3, 4, 5, 6], {}),
        (5, 2, [1, 2, 3, 4, 5, 6], {"fallback": "Skip"}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"slack": 1}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"slack": 1, "fallback": "Skip"}),
        (4, 3, [1, 2, 5, 6], {}),
        (4, 3, [1, 2, 3, 6], {"fallback": "Skip"}),
        (4, 3, [2, 3, 4, 5, 6], {"threshold": "MedianDeviation", "spread_factor": 0}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"consensus_fraction": 256, "threshold": "MedianDeviation"}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"minimum_tokens": 34}),
        (4, 3, [], {}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"shared_cohort": "Majority", "consensus_fraction": 160}),
        (4, 3, [1, 2, 3, 4, 5, 6], {
            "shared_cohort": "Majority", "consensus_fraction": 256, "threshold": "MedianDeviation", "spread_factor": 0,
        }),
        (4, 3, [1, 2, 3, 4, 5, 6], {"shared_cohort": "Majority", "slack": 1}),
        (5, 3, [1, 2, 3, 4, 5, 6], {"shared_cohort": "Majority", "fallback": "Skip"}),
        (4, 2, [1, 2, 3, 4, 6], {"shared_cohort": "Majority", "consensus_fraction": 256}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"shared_cohort": "Majority", "minimum_tokens": 34}),
        (4, 3, [], {"shared_cohort": "Majority"}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"sketches": "Signs"}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"sketches": "Signs", "consensus_fraction": 256}),
        (5, 2, [1, 2, 3, 4, 6], {"sketches": "Signs", "fallback": "Skip"}),
        (4, 3, [1, 2, 3, 4, 5, 6], {"sketches": "Signs", "minimum_tokens": 34, "shared_cohort": "Majority"}),
        (4, 3, [], {"sketches": "Signs", "shared_cohort": "Majority"}),
    ]:
        chosen = settings() | {"cohort_floor": floor, "max_weight": max_weight}
        chosen["scoring"] = chosen["scoring"] | changes
        made = contributions[chosen["scoring"]["sketches"]]
        sketches = {m: {s["block"]: s for s in made[m]} for m in announced}
        result = scoring.choose(chosen, roster.organisation_of, roster.weight_of, sketches)
        cases.append({
            "cohort_floor": floor, "max_weight": max_weight, "scoring": chosen["scoring"],
            "announced": announced, "cohorts": result,
        })
    lists = {
        form: {str(m): [listed(sketch) for sketch in sketches] for m, sketches in made.items()}
        for form, made in contributions.items()
    }
    return {
        "sketches": lists["Pairs"], "signs": lists["Signs"], "cases": cases,
        "tables": withheld_files.block_tables(), "withheld": withheld_files.cohort_cases(),
    }
