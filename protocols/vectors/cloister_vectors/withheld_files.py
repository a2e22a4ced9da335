"""Vectors of consensus and cohorts by scores (ALIGN-16, ALIGN-17)."""

from . import scoring
from .planning import by_scores, planned_block, settings, with_regions, withheld_settings, without_privacy
from .roster import the_roster
from .samples import integers
from .schema import PLANNED_BLOCK
from .withheld import check_scores, first_blocks, score_consensus

# Four experts in one layer and two in the next: some numbers of groups make one that spans both.
TWO_LAYERS = [
    *(({"Expert": {"layer": 0, "expert": expert}}, 5) for expert in range(4)), ({"Router": {"layer": 0}}, 5),
    *(({"Expert": {"layer": 1, "expert": expert}}, 6) for expert in range(2)), ({"Router": {"layer": 1}}, 3),
    ("Shared", 7), ({"Routing": {"layer": 0}}, 4),
]
ONE, TWO = 0, 1
MAJORITY, SKIP = {"shared_cohort": "Majority"}, {"fallback": "Skip"}


def tables():
    """Settings with one layer of experts, and with two."""
    two = settings() | {"blocks": [planned_block(number, *row) for number, row in enumerate(TWO_LAYERS)]}
    return [withheld_settings(), with_regions(by_scores(without_privacy(two)))]


def numbered(*rows):
    """Scores of members 1, 2, …"""
    return dict(enumerate(rows, 1))


def made_up(label, groups, without=()):
    """Scores of all members, about a third of them below 0; some members have none."""
    listed = {member: integers(f"{label} {member}", groups, -5000, 10_000) for member in range(1, 7)}
    return listed | {member: [None] * groups for member in without}


def one_layer():
    """Scores for the table with one layer, in two groups: what happens, floor, other scoring, scores by member."""
    none = [None, None]
    similar = numbered([5000, 6000], [5100, 5900], [5200, 6100], [4900, 6200], [5050, 6050], [4950, 5950])
    some = similar | {4: none, 6: none}
    nobody = numbered(*[none] * 6)
    negative = numbered([5000, -1], [5100, -900], [5200, 6100], [4900, 6200], [5050, 0], [4950, 5950])
    return [
        ("all are alike", 4, {}, similar),
        ("scores below 0, and of 0", 4, {}, similar | {1: [-1, 6000], 6: [0, -16_384]}),
        ("members without a score", 4, {}, some),
        ("members without a score and one below 0", 4, {}, some | {2: [-5100, 5900]}),
        ("four members without a score, and the others below 0", 4, {},
         nobody | {5: [-1, -2], 6: [-300, -4]}),
        ("the whole median, with members without a score", 4, {"consensus_fraction": 256}, some),
        ("nobody has a score", 4, {}, nobody),
        ("nobody has a score, with slack and without a fallback", 4, SKIP | {"slack": 2}, nobody),
        ("nobody has a score, and the shared rest follows the experts", 4, MAJORITY | SKIP | {"slack": 2}, nobody),
        ("nobody has a score, and too few announce", 4, {}, {m: none for m in (1, 2, 5, 6)}),
        ("nobody announces", 4, MAJORITY, {}),
        ("too few are aligned: everyone", 4, {}, negative),
        ("too few are aligned: void", 4, SKIP, negative),
        ("too few are aligned with a member without a score: everyone", 4, {}, negative | {3: none}),
        ("enough are aligned with two members without a score", 4, SKIP, negative | {1: none, 2: none}),
        ("too few are aligned for the slack", 4, {"slack": 1} | SKIP, similar | {1: [-1, 6000]}),
        ("exactly the fraction of the median", 4, {"consensus_fraction": 128},
         numbered([5000, 6001], [2500, 3000], [5000, 6001], [5000, 6001], [2499, 3001], [5000, 6001])),
        ("scores beyond 2¹⁴ by their noise", 4, {}, similar | {1: [17_001, -17_002], 2: [30_000, 16_385]}),
        ("the largest numbers, 255/256 of the median", 4, {"consensus_fraction": 255},
         numbered(*[[2**31 - 1, -(2**31)]] * 4, [2_139_095_040, 2**31 - 1], [2_139_095_039, 2**31 - 1])),
        ("the largest numbers and the largest fraction", 4, {"consensus_fraction": 65_535},
         numbered(*[[2**31 - 1, -(2**31)]] * 6)),
        ("one group", 4, {"groups": 1}, numbered([5000], [5100], [-3], [4900], [None], [20])),
        ("a group for each expert", 4, {"groups": 3} | MAJORITY, made_up("three groups", 3, without=[2])),
    ]


def undecided():
    """ALIGN-17, in the same form: experts that nobody's update agrees with, and ones that nearly are such."""
    none, lenient = [None, None], {"slack": 2}
    negative = numbered([-1, -16_384], [0, -2], [-300, 0], [-5, -6000], [0, 0], [-16_384, -1])
    one = negative | {2: [1, -2]}
    four = {member: negative[member] for member in (1, 2, 5, 6)}
    return [
        ("all scores are 0 or below, with a fallback that does not apply", 4, lenient, negative),
        ("all scores are 0 or below, with slack and without a fallback", 4, SKIP | lenient, negative),
        ("all scores are 0", 4, SKIP, numbered(*[[0, 0]] * 6)),
        ("all scores are the lowest", 4, SKIP | {"consensus_fraction": 65_535}, numbered(*[[-(2**31)] * 2] * 6)),
        ("all scores are 0 or below, and no fraction of a median", 4, SKIP | {"consensus_fraction": 0}, negative),
        ("one score above 0: everyone, by the fallback", 4, {}, one),
        ("one score above 0: void", 4, SKIP, one),
        ("one score above 0, and no fraction of a median: void", 4, SKIP | {"consensus_fraction": 0}, one),
        ("one score above 0, and too few members without a score: void", 4, SKIP, one | {1: none, 4: none}),
        ("one score above 0, and three members without a score", 4, SKIP, one | {1: none, 4: none, 6: none}),
        ("some members without a score, the others below 0", 4, SKIP | lenient, negative | {1: none, 5: none}),
        ("one member with a score, below 0", 4, SKIP | lenient, numbered(*[none] * 5, [-3, 0])),
        ("one member with a score, above 0", 4, SKIP, numbered(*[none] * 5, [3, 0])),
        ("all scores are 0 or below, and too few announce", 4, {}, four),
        ("all scores are 0 or below, and too few announce for a majority", 4, MAJORITY, four),
    ]


def undecided_majorities():
    """ALIGN-09 and ALIGN-17, in the same form: a majority some or all of whose experts are undecided."""
    none, strict = [None, None], MAJORITY | SKIP
    single, pairs = strict | {"groups": 3}, numbered([5, -1], [6, 0], [-7, -2], [0, -1], [-1, -3], [-1, -1])
    mixed = numbered([-1, 5000, 5000], [-1, 5000, -1], [0, -1, 5000], [-2, 5000, 5000], [-3, -1, 0], [0, 5000, 5000])
    negative = numbered([-1, -16_384], [0, -2], [-300, 0], [-5, -6000], [0, 0], [-16_384, -1])
    return [
        ("one of three experts is undecided", 4, single, mixed),
        ("one of three experts is undecided, with a member without a score", 4, single, mixed | {5: [None] * 3}),
        ("one of three experts is undecided, and five have to be chosen", 4, single | {"slack": 1},
         mixed | {3: [0, -1, -1]}),
        ("two of three experts are undecided, and everyone is chosen", 4, strict | {"slack": 1},
         numbered([-1, 5000], [0, -1], [-7, 5100], [0, 5200], [-1, -3], [-1, 4900])),
        ("two of three experts are undecided, and the third is void", 4, strict, negative | {2: [-1, 3]}),
        ("one of three experts is undecided, and too few are chosen: void", 4, strict, pairs),
        ("one of three experts is undecided, and too few are chosen: everyone", 4, MAJORITY, pairs),
        ("all experts are undecided", 4, MAJORITY, negative),
        ("all experts are undecided, with slack and without a fallback", 4, strict | {"slack": 2}, negative),
        ("all experts are undecided, with members without a score", 4, strict | {"slack": 2},
         negative | {2: none, 6: none}),
        ("undecided experts choose a member that the third leaves out", 4, strict,
         numbered(none, none, none, none, [-1, -1], [-2, 700])),
    ]


def majorities():
    """ALIGN-09 by scores, in the same form; of three experts two make the first group."""
    similar = numbered([5000, 6000], [5100, 5900], [5200, 6100], [4900, 6200], [5050, 6050], [4950, 5950])
    none = [None, None]
    return [
        ("a majority of all", 4, MAJORITY, similar),
        ("one of three experts is no majority", 4, MAJORITY, similar | {1: [-1, 6000], 6: [5000, -1]}),
        ("a member without a score is chosen", 4, MAJORITY, similar | {1: [-1, 6000], 2: none}),
        ("too few are chosen: everyone", 5, MAJORITY, similar | {1: [-1, 6000], 2: none}),
        ("too few are chosen: void", 5, MAJORITY | SKIP, similar | {1: [-1, 6000], 2: none}),
        ("four members without a score, and two that one group each leaves out", 4, MAJORITY | SKIP,
         numbered(none, none, none, none, [-1, 700], [500, -1])),
    ]


def two_layers():
    """Scores for the table with two layers, in the same form."""
    spread = [
        (f"two layers in {groups} groups, {about}", 4, {"groups": groups} | changes,
         made_up(f"two layers in {groups}", groups, without))
        for groups in (1, 2, 4, 5, 6) for about, changes, without in [
            ("a majority", MAJORITY, []), ("a majority, and members without a score", MAJORITY, [3, 6]),
        ]
    ]
    high = [5000, 5000, 5000, 5000]
    half, four, low = [5000, 5000, -1, -1], [5000, 5000, -1, 5000], [-1, 5000, 0, -2]
    return [
        *spread,
        ("three of six experts are no majority, four are", 4, MAJORITY | {"groups": 4},
         numbered(half, [-1, 5000, 5000, 5000], high, high, half, four)),
        ("a group of both layers leaves a member out of both", 4, {"groups": 4},
         numbered(high, high, high, high, four, high)),
        ("undecided experts in both layers", 4, MAJORITY | SKIP | {"groups": 4},
         numbered(low, low, [-2, -1, -1, 0], low, [0, 5000, -1, -5], [None] * 4)),
        ("all experts of both layers are undecided", 4, MAJORITY | SKIP | {"groups": 4, "slack": 2},
         numbered(*[[-1, 0, -2, -3]] * 5, [None] * 4)),
    ]


def announced_scores(chosen, row):
    """A member's scores as it announces them."""
    blocks = first_blocks(chosen)
    assert len(blocks) == len(row)
    sketches = [{"block": block, "values": {"Score": score}, "tokens": 0} for block, score in zip(blocks, row)]
    check_scores(chosen, sketches)
    return sketches


def cohort_case(table, about, floor, changes, scores):
    """One choice of all cohorts."""
    roster, chosen = the_roster(), tables()[table] | {"cohort_floor": floor}
    chosen["scoring"] = chosen["scoring"] | changes
    announced = {member: announced_scores(chosen, row) for member, row in scores.items()}
    by_block = {member: {sketch["block"]: sketch for sketch in own} for member, own in announced.items()}
    result = scoring.choose(chosen, roster.organisation_of, roster.weight_of, by_block)
    return {
        "about": about, "table": table, "cohort_floor": floor, "max_weight": chosen["max_weight"],
        "scoring": chosen["scoring"], "sketches": {str(member): own for member, own in announced.items()},
        "cohorts": result,
    }


def cohort_cases():
    """ALIGN-07 to ALIGN-10 and ALIGN-17."""
    cases = [cohort_case(ONE, *case) for case in one_layer() + undecided() + majorities() + undecided_majorities()]
    cases += [cohort_case(TWO, *case) for case in two_layers()]
    return cases


def block_tables():
    """The block tables of the cases."""
    return [[PLANNED_BLOCK.to_json(row) for row in chosen["blocks"]] for chosen in tables()]


def consensus_cases():
    """ALIGN-17 for one expert."""
    cases = []
    for scores in (
        [], [None], [0], [-1, 1, None, 0, 16_384, -16_384], [2**31 - 1, -(2**31)], [None, None],
        [-5, -1, 0, -(2**31)], [None, -3, None, 0], [-5, 1, 0], [None, 1, None, -1],
    ):
        sketches = [{"values": {"Score": score}, "tokens": 0} for score in scores]
        cases.append({"sketches": sketches, "consensus": score_consensus(sketches)})
    return cases
