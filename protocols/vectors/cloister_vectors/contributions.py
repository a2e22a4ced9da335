"""Made-up results of local training: integers for every block, and sketches of members whose experts differ."""

from math import isqrt

from .late import SKETCHED_LENGTH
from .planning import CLIP_STEPS
from .samples import integers
from .sketching import signs
from .withheld import expert_blocks, first_blocks

# For each expert block, the members whose expert has drifted into another role.
DRIFTED = {0: {6}, 1: {1}, 2: {1, 2, 3, 4, 5, 6}}
# A member that routed next to nothing to an expert.
TOO_FEW_TOKENS = (5, 2)
# Scores of a member for a group: below 0, low, and by its noise above 2¹⁴; and the member that has none.
UNUSUAL_SCORES = {(6, 0): -1200, (1, 1): 900, (5, 1): 17_000}
WITHOUT_SCORES = 3


def block_integers(member, planned):
    """One integer a coordinate, as the block's kind wants them; a long block is within the clip as a whole."""
    kind, length, label = planned["shape"]["kind"], planned["shape"]["length"], f"integers {member}"
    reach = CLIP_STEPS if length < SKETCHED_LENGTH else CLIP_STEPS // isqrt(length)
    values = integers(f"{label} {planned['shape']['id']}", length, -reach, reach)
    if "Router" in kind:
        values[-1] = CLIP_STEPS // 4 + 1 + abs(values[-1]) // 2
    if "Routing" in kind or kind == "Evaluation":
        values = [abs(value) for value in values]
    if "Regions" in kind:
        values = [value // (4 * isqrt(length)) for value in values]
    return values


def _vector(role, member, label, coordinates):
    shared = integers(f"{label} of {role}", coordinates, -900, 900)
    own = integers(f"{label} of {role} at {member}", coordinates, -120, 120)
    return [a + b for a, b in zip(shared, own)]


def sketch(member, block, coordinates, form):
    """The announced sketch of one expert block."""
    drifted = member in DRIFTED[block]
    role = f"block {block} drifted at {member}" if drifted else f"block {block}"
    few = (member, block) == TOO_FEW_TOKENS
    update = _vector(role, member, "update", coordinates)
    values = {"Projections": {"region": _vector(role, member, "region", coordinates), "update": update}}
    if form == "Signs":
        values = {"Signs": signs(update, _vector(role, member, "region", coordinates // 2))}
    return {"block": block, "values": values, "tokens": 2 if few else 30 + member}


def scores(member, settings):
    """The announced scores, one for each group of experts, or none for all."""
    blocks = first_blocks(settings)
    values = integers(f"scores of {member}", len(blocks), 4000, 9000)
    values = [UNUSUAL_SCORES.get((member, group), value) for group, value in enumerate(values)]
    if member == WITHOUT_SCORES:
        values = [None] * len(blocks)
    return [{"block": block, "values": {"Score": value}, "tokens": 0} for block, value in zip(blocks, values)]


class Contribution:
    """What one member brings to a round."""

    def __init__(self, member, settings):
        blocks = settings["blocks"]
        self.integers = [block_integers(member, planned) for planned in blocks]
        size, form = settings["sketch"]["coordinates"], settings["scoring"]["sketches"]
        if form == "Withheld":
            self.sketches = scores(member, settings)
        else:
            self.sketches = [sketch(member, block, size, form) for block in expert_blocks(settings)]

    def to_json(self):
        return {"integers": self.integers, "sketches": [listed(sketch) for sketch in self.sketches]}


def listed(sketch):
    """A sketch as JSON has it: signs as a list of bytes."""
    return sketch | {"values": {form: list(value) if form == "Signs" else value for form, value in sketch["values"].items()}}
