"""Who lied about a sum: rows over pair masks, answers and opened pairs (LATE-06 to LATE-09)."""

from . import dealing, masking
from .hashing import body_digest, u32
from .late import rows
from .member import block_context


def opening_context(plan, member, other):
    """LATE-08: what the proof of an opened pair is bound to, `member` being who shows it."""
    return b"cloister/v1/pair-opening" + dealing.place(plan["epoch"], plan["round"], member) + u32(other)


def sign_of(member, other):
    """The sign that a member gives the mask of a pair (MASK-09)."""
    return 1 if member < other else -1


def value_for(answer, other):
    """What an answer says of the pair with another member."""
    return next(pair["value"] for pair in answer["pairs"] if pair["other"] == other)


def disputes(answers):
    """The pairs whose two answers differ, the lower number first."""
    pairs = [(one, other) for one in answers for other in answers if one < other]
    return [(one, other) for one, other in pairs if value_for(answers[one], other) != value_for(answers[other], one)]


class BlamedRow:
    """The first row in which the late sketches of a block do not make up its sum."""

    def __init__(self, late, block, row):
        self.late, self.block, self.row = late, block, row
        self.seed, self.ring = late.projection(block), late.settings["ring"]
        self.here, self.gone, _ = late.summed[block]
        self.context = block_context(late.plan, late.plan_digest, late.manifest_digest, block)

    def over(self, words):
        """The row over words."""
        return rows(self.seed, words, self.ring)[self.row]

    def over_mask(self, key):
        """The row over the mask of a key."""
        return self.over(masking.expand(key, self.context["length"]))

    def over_pair(self, one, other, agreed):
        """The row over the mask of a pair that agreed on this, before its sign."""
        return self.over_mask(masking.pair_key(self.context, one, other, agreed))

    def agreed(self, one, other):
        """`e[one]·E[other]`."""
        return dealing.agree(self.late.dealers[one].mask_key.secret, self.late.dealers[other].public)

    def pair_value(self, one, other):
        """The true row over the mask of a pair."""
        return self.over_pair(one, other, self.agreed(one, other))

    def answer(self, member):
        """LATE-06: what an honest member signs."""
        others = [other for other in self.here if other != member]
        pairs = [{"other": other, "value": self.pair_value(member, other)} for other in others]
        return self.late.names(seal2=body_digest(self.late.seal2), block=self.block, row=self.row, pairs=pairs)

    def follows(self, member, pairs):
        """LATE-06: the row of a member's late sketch that follows from its upload and what it says of its pairs."""
        left = self.over(masking.unpack(self.late.packed[member][self.block], self.ring))
        seed = self.late.dealers[member].seed(self.block)
        left -= self.over_mask(masking.self_key(self.context, member, seed))
        absent = [{"other": other, "value": self.pair_value(other, member)} for other in self.gone]
        left -= sum(sign_of(member, pair["other"]) * pair["value"] for pair in [*pairs, *absent])
        return left % 2**self.ring

    def is_untrue(self, member, pair, opened):
        """Whether a value is not that of an opened pair; `opened` has what pairs agreed on."""
        agreed = opened.get(frozenset((member, pair["other"])))
        return agreed is not None and self.over_pair(member, pair["other"], agreed) != pair["value"]

    def liars(self, answers, opened):
        """LATE-09: the members that their own answers name, ascending."""
        lied = lambda member, pairs: (
            self.follows(member, pairs) != self.late.said(member, self.block)[self.row]
            or any(self.is_untrue(member, pair, opened) for pair in pairs)
        )
        return [m for m, answer in sorted(answers.items()) if lied(m, answer["pairs"])]
