"""Made-up results of local training: integers for every block, and sketches of members whose experts differ."""

from math import isqrt

from .late import SKETCHED_LENGTH
from .planning import CLIP_STEPS
from .samples import integers
from .sketching import signs

# For each expert block, the members whose expert has drifted into another role.
DRIFTED = {0: {6}, 1: {1}, 2: {1, 2, 3, 4, 5, 6}}
# A member that routed next to nothing to an expert.
TOO_FEW_TOKENS = (5, 2)


def block_integers(member, planned):
    """One integer a coordinate, as the block's kind wants them; a long block is within the clip as a whole."""
    kind, length, label = planned["shape"]["kind"], planned["shape"]["length"], f"integers {member}"
    reach = CLIP_STEPS if length < SKETCHED_LENGTH else CLIP_STEPS // isqrt(length)
    values = integers(f"{label} {planned['shape']['id']}", length, -reach, reach)
    if "Router" in kind:
        values[-1] = CLIP_STEPS // 4 + 1 + abs(values[-1]) // 2
    if "Routing" in kind or kind == "Evaluation":
        values = [abs(value) for value in values]
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


class Contribution:
    """What one member brings to a round."""

    def __init__(self, member, settings):
        blocks = settings["blocks"]
        self.integers = [block_integers(member, planned) for planned in blocks]
        experts = [row["shape"]["id"] for row in blocks if "Expert" in row["shape"]["kind"]]
        size, form = settings["sketch"]["coordinates"], settings["scoring"]["sketches"]
        self.sketches = [sketch(member, block, size, form) for block in experts]

    def to_json(self):
        return {"integers": self.integers, "sketches": [listed(sketch) for sketch in self.sketches]}


def listed(sketch):
    """A sketch as JSON has it: signs as a list of bytes."""
    return sketch | {"values": {form: list(value) if form == "Signs" else value for form, value in sketch["values"].items()}}
