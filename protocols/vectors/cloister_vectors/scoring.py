"""From announced sketches to cohorts, in integers (ALIGN-02 to ALIGN-10, ALIGN-15, ALIGN-17).

`//` rounds towards minus infinity.
"""

from math import isqrt

from .withheld import announced_under, score_consensus

UNIT = 2**14


def unit(vector):
    """ALIGN-02: the vector at norm 2¹⁴, or none."""
    length = isqrt(sum(value * value for value in vector))
    return [value * UNIT // length for value in vector] if length else None


def agreement(one, other):
    """The product of two unit vectors."""
    return sum(a * b for a, b in zip(one, other)) // UNIT


def lower_median(values):
    """The lower of the middle values; 0 of none."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0


def mean(values):
    """0 of none."""
    return sum(values) // len(values) if values else 0


def vectors(sketch):
    """The projections of a sketch."""
    return sketch["values"]["Projections"]


def common_direction(sketches, minimum_tokens, coordinates):
    """ALIGN-03, over all sketches of a layer."""
    counted = [vectors(sketch)["region"] for sketch in sketches if sketch["tokens"] >= minimum_tokens]
    return [mean([region[j] for region in counted]) for j in range(coordinates)]


def threshold(agreements, rule):
    """ALIGN-04."""
    if rule["threshold"] == "MeanDeviation":
        centre = mean(agreements)
        spread = isqrt(mean([(value - centre) ** 2 for value in agreements]))
    else:
        centre = lower_median(agreements)
        spread = lower_median([abs(value - centre) for value in agreements])
    return centre - rule["spread_factor"] * spread // 256


def score(sketches, common, rule):
    """ALIGN-02 to ALIGN-06 for one expert: agreements, threshold, and each member's consensus or none."""
    units = []
    for sketch in sketches:
        region = unit([a - b for a, b in zip(vectors(sketch)["region"], common)])
        update = unit(vectors(sketch)["update"])
        enough = sketch["tokens"] >= rule["minimum_tokens"]
        units.append((region, update) if region and update and enough else None)
    scored = [at for at, pair in enumerate(units) if pair]
    regions = {(i, j): agreement(units[i][0], units[j][0]) for i in scored for j in scored if i != j}
    agreements = [regions[i, j] for i in scored for j in scored if i < j]
    tau = threshold(agreements, rule)
    gate = lambda i, j: max(0, agreement(units[i][1], units[j][1])) if regions[i, j] >= tau else 0
    consensus = [None] * len(units)
    for i in scored:
        consensus[i] = sum(gate(i, j) for j in scored if i != j)
    return {"agreements": agreements, "threshold": tau, "consensus": consensus}


def sign_score(sketches, rule, size):
    """ALIGN-15: each member's consensus by signs, from pairs of members, or none."""
    values = []
    for sketch in sketches:
        bits = sketch["values"]["Signs"]
        plus = [bits[at // 8] >> (at % 8) & 1 for at in range(size)]
        values.append([2 * bit - 1 for bit in plus] if sketch["tokens"] >= rule["minimum_tokens"] else None)
    consensus = []
    for at, one in enumerate(values):
        others = [other for place, other in enumerate(values) if place != at and other is not None]
        chance = isqrt(size)
        agreed = sum(max(0, sum(a * b for a, b in zip(one, other)) - chance) for other in others) if one else 0
        consensus.append(agreed * UNIT // size if one else None)
    return consensus


def is_aligned(consensus, median, fraction):
    """ALIGN-07."""
    return consensus is not None and consensus > 0 and 256 * consensus >= fraction * median


def choose(settings, organisation_of, weight_of, announced):
    """ALIGN-07 to ALIGN-10: the cohort of every block. `announced` has each member's sketches by block."""
    commons = layer_directions(settings, announced)
    chooser = Chooser(settings, organisation_of, weight_of, announced, commons)
    return [chooser.cohort(planned["shape"]) for planned in settings["blocks"]]


def layer_directions(settings, announced):
    """ALIGN-03: the common direction of every layer."""
    blocks_of = {}
    for planned in settings["blocks"]:
        kind = planned["shape"]["kind"]
        if "Expert" in kind:
            blocks_of.setdefault(kind["Expert"]["layer"], []).append(planned["shape"]["id"])
    rule, size = settings["scoring"], settings["sketch"]["coordinates"]
    if rule["sketches"] != "Pairs":
        return {}
    every = lambda blocks: [own[block] for own in announced.values() for block in blocks if block in own]
    return {
        layer: common_direction(every(blocks), rule["minimum_tokens"], size) for layer, blocks in blocks_of.items()
    }


class Chooser:
    """What choosing a block's cohort needs."""

    def __init__(self, settings, organisation_of, weight_of, announced, commons):
        self.settings, self.announced, self.commons = settings, announced, commons
        self.organisation_of, self.weight_of = organisation_of, weight_of
        self.is_withheld = settings["scoring"]["sketches"] == "Withheld"

    def organisations(self, members):
        """FLOOR-05."""
        return len({self.organisation_of[member] for member in members})

    def cohort(self, shape):
        """A block's cohort as the manifest lists it."""
        rule = self.settings["scoring"]
        if "Expert" in shape["kind"]:
            aligned, scores = self.scored(shape)
            return self.settle(shape["id"], aligned, scores, self.is_undecided(scores))
        if shape["kind"] == "Shared" and rule["shared_cohort"] == "Majority":
            return self.settle(shape["id"], *self.majority())
        return self.finish(shape["id"], "Everyone", sorted(self.announced), [])

    def scored(self, shape):
        """ALIGN-07: who is aligned, and everyone's consensus."""
        scores, fraction = self.consensus(shape), self.settings["scoring"]["consensus_fraction"]
        if self.is_undecided(scores):
            return sorted(self.announced), scores
        median = lower_median([value for value in scores if value is not None])
        aligned = [
            member for member, value in zip(sorted(self.announced), scores)
            if is_aligned(value, median, fraction) or self.is_without_score(member)
        ]
        return aligned, scores

    def consensus(self, shape):
        """Everyone's consensus for an expert, or none, by the plan's form of sketches."""
        rule, block = self.settings["scoring"], shape["id"]
        if self.is_withheld:
            block = announced_under(self.settings)[block]
        sketches = [self.announced[member][block] for member in sorted(self.announced)]
        if self.is_withheld:
            return score_consensus(sketches)
        if rule["sketches"] == "Signs":
            return sign_score(sketches, rule, self.settings["sketch"]["coordinates"])
        return score(sketches, self.commons[shape["kind"]["Expert"]["layer"]], rule)["consensus"]

    def is_undecided(self, scores):
        """ALIGN-17: by scores, nobody's consensus for an expert is above 0."""
        return self.is_withheld and not any(value is not None and value > 0 for value in scores)

    def is_without_score(self, member):
        """ALIGN-17: a member has scores for all groups or for none."""
        sketches = self.announced[member].values()
        return self.is_withheld and all(sketch["values"]["Score"] is None for sketch in sketches)

    def majority(self):
        """ALIGN-09: who is aligned by most experts that know them, by how many each is, and whether none decides."""
        shapes = [planned["shape"] for planned in self.settings["blocks"]]
        experts = [self.scored(shape) for shape in shapes if "Expert" in shape["kind"]]
        chosen, votes = [], []
        for at, member in enumerate(sorted(self.announced)):
            known = [aligned for aligned, scores in experts if scores[at] is not None]
            count = sum(member in aligned for aligned in known)
            votes.append(count if known else None)
            if 2 * count > len(known) or self.is_without_score(member):
                chosen.append(member)
        return chosen, votes, all(self.is_undecided(scores) for _, scores in experts)

    def settle(self, block, chosen, scores, is_undecided):
        """ALIGN-08, and ALIGN-17 for what is undecided."""
        rule = self.settings["scoring"]
        if is_undecided:
            return self.finish(block, "Everyone", sorted(self.announced), scores)
        if self.organisations(chosen) >= self.settings["cohort_floor"] + rule["slack"]:
            return self.finish(block, "Aligned", chosen, scores)
        if rule["fallback"] == "Everyone":
            return self.finish(block, "Fallback", sorted(self.announced), scores)
        return self.finish(block, "Void", [], scores)

    def finish(self, block, choice, members, scores):
        """ALIGN-10."""
        if self.organisations(members) < self.settings["cohort_floor"]:
            choice, members = "Void", []
        weight = lambda member: min(self.weight_of[member], self.settings["max_weight"])
        listed = [{"member": member, "weight": weight(member)} for member in members]
        return {"block": block, "choice": choice, "members": listed, "consensus": scores}
