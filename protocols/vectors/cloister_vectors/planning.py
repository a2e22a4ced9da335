"""The plan of the vectors, and the rules for plans (PLAN-01 to PLAN-22)."""

from collections import Counter
from math import isqrt

from .bars import bars
from .hashing import digest
from .late import late_bound, may_be_sketched
from .refusal import Refused, require
from .ristretto import decode_public
from .samples import seed
from .schema import BODIES
from .canonical import decode
from .signing import verify

CLIP_STEPS = 1 << 14
LENGTHS = [
    ({"Expert": {"layer": 0, "expert": 0}}, 5), ({"Expert": {"layer": 0, "expert": 1}}, 6),
    ({"Expert": {"layer": 0, "expert": 2}}, 4), ({"Router": {"layer": 0}}, 4), ("Shared", 7),
    ({"Routing": {"layer": 0}}, 3), ("Evaluation", 2),
]


def planned_block(number, kind, length):
    """A row of the block table."""
    scale, noise = {"step_log2": -12, "clip_steps": CLIP_STEPS}, 16
    if kind == "Evaluation":
        noise = least_noise(scale, 1)
    if "Regions" in kind:
        scale = {"step_log2": -14, "clip_steps": CLIP_STEPS}
        noise = least_noise(scale, 16)
    return {"shape": {"id": number, "kind": kind, "length": length}, "scale": scale, "noise_steps": noise}


def least_noise(scale, least):
    """PLAN-21 and PLAN-22: a sixty-fourth of the clip, and at least so many steps."""
    return max(least, -(-scale["clip_steps"] // 64))


# PLAN-03: the sizes of each form of sketches.
SKETCH_SIZES = {
    "Pairs": (16, 32, 64, 128), "Signs": (16, 32, 64, 128, 256), "Withheld": (16, 32, 64, 128),
}


def projection_seed(task):
    """PLAN-15: the seed of sketches follows from the task."""
    return digest("projection", task)


def settings():
    """What the rounds of the vectors do."""
    return {
        "task": seed("task"), "ring": 24, "max_weight": 3, "cohort_floor": 4,
        "sketch": {
            "seed": projection_seed(seed("task")), "coordinates": 16, "noise_steps": 3,
            "region_clip_milli": 12500, "count_noise": 5,
        },
        "scoring": {
            "sketches": "Pairs", "groups": 0, "score_noise": 0,
            "threshold": "MeanDeviation", "spread_factor": 200, "consensus_fraction": 96,
            "minimum_tokens": 5, "slack": 0, "fallback": "Everyone", "shared_cohort": "Everyone",
        },
        "late_sketches": "Off",
        "rehearsal": False,
        "training": {
            "local_epochs": 1, "batch_size": 8, "learning_rate_micro": 1000,
            "routing_penalty_milli": 100,
            "private": {
                "clipping_norm_milli": 500, "noise_multiplier_milli": 1100,
                "sampling_probability_micro": 30_000, "minimum_records": 40,
            },
        },
        "deadlines": {"announce": 10_000, "seal": 5_000, "upload": 2**40, "reveal": 5_000},
        "blocks": [planned_block(number, *row) for number, row in enumerate(LENGTHS)],
    }


def by_scores(chosen, groups=2):
    """Settings with scores in place of sketches; their blocks stay."""
    withheld = {"sketches": "Withheld", "groups": groups, "score_noise": 500}
    return chosen | {"scoring": chosen["scoring"] | withheld}


def without_privacy(chosen):
    """Settings whose training is not private."""
    return chosen | {"training": chosen["training"] | {"private": None}}


def experts_by_layer(blocks):
    """How many expert blocks each layer has."""
    kinds = [row["shape"]["kind"] for row in blocks]
    return Counter(kind["Expert"]["layer"] for kind in kinds if "Expert" in kind)


def with_regions(chosen):
    """Settings with a block of regions for each layer that has experts (ALIGN-18), before an evaluation."""
    rows, size = chosen["blocks"], chosen["sketch"]["coordinates"]
    layers = sorted(experts_by_layer(rows).items())
    regions = [planned_block(0, {"Regions": {"layer": layer}}, experts * size) for layer, experts in layers]
    last = [row for row in rows if row["shape"]["kind"] == "Evaluation"]
    rows = [row for row in rows if row not in last] + regions + last
    blocks = [row | {"shape": row["shape"] | {"id": number}} for number, row in enumerate(rows)]
    return chosen | {"blocks": blocks}


def withheld_settings():
    """The settings with scores and without private training, and so with a block of regions."""
    return with_regions(by_scores(without_privacy(settings())))


def check_blocks(blocks, members):
    """PLAN-02."""
    numbers = [row["shape"]["id"] for row in blocks]
    kinds = [repr(row["shape"]["kind"]) for row in blocks]
    require(blocks and numbers == list(range(len(blocks))), "block-table")
    require(len(set(kinds)) == len(kinds), "block-table")
    require(len(blocks) <= 8192 and len(blocks) * members <= 2**17, "block-table")
    require(all(1 <= row["shape"]["length"] <= 2**32 for row in blocks), "block-table")


def check_sizes(chosen):
    """PLAN-03, PLAN-07 and PLAN-15."""
    require(chosen["ring"] in (16, 24, 32), "ring")
    require(chosen["sketch"]["coordinates"] in SKETCH_SIZES[chosen["scoring"]["sketches"]], "sketch")
    require(chosen["sketch"]["seed"] == projection_seed(chosen["task"]), "projection")
    require(1 <= chosen["max_weight"] <= 15, "weight")
    require(1 <= chosen["training"]["local_epochs"] <= 1000, "local-epochs")


def check_groups(chosen):
    """PLAN-03: the number of groups, and the noise of scores."""
    scoring, experts = chosen["scoring"], experts_by_layer(chosen["blocks"]).total()
    if scoring["sketches"] == "Withheld":
        require(1 <= scoring["groups"] <= experts, "groups")
    else:
        require(scoring["groups"] == 0 and scoring["score_noise"] == 0, "groups")


def check_regions(chosen):
    """PLAN-22: exactly the blocks of regions that ALIGN-18 asks for, each with a clip of 1 and enough noise."""
    size, is_private = chosen["sketch"]["coordinates"], chosen["training"]["private"] is not None
    has_regions = chosen["scoring"]["sketches"] == "Withheld" and not is_private
    layers = experts_by_layer(chosen["blocks"]) if has_regions else {}
    rows = [row for row in chosen["blocks"] if "Regions" in row["shape"]["kind"]]
    lengths = {row["shape"]["kind"]["Regions"]["layer"]: row["shape"]["length"] for row in rows}
    require(lengths == {layer: experts * size for layer, experts in layers.items()}, "regions")
    for row in rows:
        require(row["scale"]["clip_steps"] == 2.0 ** -row["scale"]["step_log2"], "region-clip")
        require(row["noise_steps"] >= least_noise(row["scale"], 16), "regions-without-noise")


def check_score_noise(chosen):
    """PLAN-22: a sixty-fourth of the largest score, unless training is private."""
    scoring, is_private = chosen["scoring"], chosen["training"]["private"] is not None
    is_noised = is_private or scoring["score_noise"] >= 256
    require(scoring["sketches"] != "Withheld" or is_noised, "scores-without-noise")


def check_block(chosen, row, members):
    """PLAN-06, PLAN-08, PLAN-11, PLAN-12 and PLAN-21 for one block; the square root is rounded up."""
    weight = chosen["max_weight"]
    root = isqrt(members - 1) + 1
    reach = weight * members * row["scale"]["clip_steps"] + 6 * row["noise_steps"] * weight * root
    require(reach < 2 ** (chosen["ring"] - 1), "ring-wrap")
    require(weight == 1 or row["noise_steps"] >= 16, "weights-without-noise")
    late = chosen["late_sketches"] != "Off" and may_be_sketched(row["shape"])
    require(not late or late_bound(row, weight) < 2 ** (2 * chosen["ring"] - 2), "late-sketch-wrap")
    require("Routing" not in row["shape"]["kind"] or row["noise_steps"] >= 16, "routing-without-noise")
    if row["shape"]["kind"] == "Evaluation":
        require(row["shape"]["length"] == 2, "block-table")
        require(row["noise_steps"] >= least_noise(row["scale"], 1), "evaluation-without-noise")


def check_counts(chosen):
    """PLAN-17: the noise on token counts is at least an eighth of the count that scoring asks for, and at least 1."""
    least = max(1, -(-chosen["scoring"]["minimum_tokens"] // 8))
    require(chosen["sketch"]["count_noise"] >= least, "counts-without-noise")


def check_private_training(training):
    """PLAN-13."""
    private = training["private"]
    if private is not None:
        require(private["clipping_norm_milli"] > 0, "private-training")
        require(private["noise_multiplier_milli"] >= 100, "private-training")
        require(private["minimum_records"] > 0, "private-training")
        require(100 <= private["sampling_probability_micro"] <= 1_000_000, "private-training")


def is_vouched(statement, expected, roster):
    """Whether a statement is its custodian's word for exactly this key."""
    tag, schema = BODIES["ReceivingKey"]
    key = roster.keys_of([statement["signer"]])[statement["signer"]]
    try:
        verify(key, tag, statement["body"], statement["signature"])
        return decode(schema, statement["body"]) == expected
    except Refused:
        return False


def check_receiving_keys(plan, roster, receiving_keys):
    """PLAN-09."""
    for entry in plan["custodians"]:
        expected = {"epoch": plan["epoch"], "round": plan["round"], "key": entry["key"]}
        own = [statement for statement in receiving_keys if statement["signer"] == entry["custodian"]]
        require(any(is_vouched(statement, expected, roster) for statement in own), "receiving-key")
        try:
            decode_public(entry["key"])
        except Refused:
            raise Refused("no-receiving-key") from None


def check_barred(plan, roster, evidence):
    """PLAN-14: `evidence` has the members that were shown to deal badly, each with the round (ROUND-33)."""
    listed = plan["barred"]
    require(listed == sorted(set(listed)) and set(listed) <= set(roster.members), "barred-without-evidence")
    for number in listed:
        shown = [round_number for member, round_number in evidence if member == number]
        require(any(bars(one, plan["round"]) for one in shown), "barred-without-evidence")


def check_plan(plan, roster, receiving_keys, evidence=()):
    """Every rule of the specification for one plan of this consortium."""
    chosen = plan["settings"]
    require(plan["epoch"] == roster.epoch, "epoch")
    require(chosen["cohort_floor"] >= roster.floors["cohort"], "below-floor")
    check_blocks(chosen["blocks"], len(roster.members))
    check_sizes(chosen)
    check_groups(chosen)
    check_regions(chosen)
    check_score_noise(chosen)
    for row in chosen["blocks"]:
        check_block(chosen, row, len(roster.members))
    check_counts(chosen)
    check_private_training(chosen["training"])
    require(len(plan["parameters"]) == len(chosen["blocks"]), "parameters")  # PLAN-18
    require(digest("model", b"".join(plan["parameters"])) == plan["model"], "parameters")
    named = [entry["custodian"] for entry in plan["custodians"]]
    require(named == sorted(set(named)) and set(named) <= set(roster.custodians), "custodians")
    require(len(named) >= roster.floors["seal_quorum"], "too-few-custodians")
    check_receiving_keys(plan, roster, receiving_keys)
    check_barred(plan, roster, evidence)
