"""What one member does in a round: secrets, announcement and letters, masked blocks (steps 2 and 4)."""

from . import dealing, masking
from .hashing import digest
from .ristretto import decode_scalar, scalar_of_wide
from .samples import wide
from .seeds import MEMBER_ITSELF, RoundSeeds
from .sharing import SharedKey


class Draws:
    """The 64 random bytes behind every scalar that a member draws, in the order in which it draws them."""

    def __init__(self, label, holders, threshold):
        of = lambda *what: wide(" ".join(map(str, (label, *what))))
        powers = range(1, threshold)
        self.mask_key, self.seed_key = of("mask key"), of("seed key")
        self.mask_coefficients = [of("mask coefficient", power) for power in powers]
        self.seed_coefficients = [of("seed coefficient", power) for power in powers]
        self.mask_proof, self.seed_proof = of("mask proof"), of("seed proof")
        self.letters = [of("letter", holder) for holder in holders]

    def to_json(self):
        return {
            name: draw.hex() if isinstance(draw, bytes) else [one.hex() for one in draw]
            for name, draw in vars(self).items()
        }


def shared_key(key, higher):
    """A key with its polynomial, from the bytes behind its coefficients."""
    return SharedKey([scalar_of_wide(draw) for draw in (key, *higher)])


class Dealer:
    """A member's secrets of one round, dealt to the plan's custodians."""

    def __init__(self, number, label, plan, plan_digest, threshold):
        self.number, self.plan, self.plan_digest = number, plan, plan_digest
        self.custodians = [entry["custodian"] for entry in plan["custodians"]]
        self.draws = Draws(label, self.custodians, threshold)
        self.mask_key = shared_key(self.draws.mask_key, self.draws.mask_coefficients)
        self.seed_key = shared_key(self.draws.seed_key, self.draws.seed_coefficients)
        self.place = dealing.place(plan["epoch"], plan["round"], number)
        self.round_seeds = RoundSeeds(plan["epoch"], plan["round"], plan_digest)
        self.public = self.mask_key.public

    def seed(self, block):
        """MASK-14: `σ[u,b]`."""
        return self.round_seeds.element(self.seed_key.secret, block)

    def content(self, custodian):
        """MASK-12: what a custodian's letter holds."""
        return self.mask_key.share(custodian) + self.seed_key.share(custodian)

    def letters(self):
        """The sealed letters by custodian."""
        letters = {}
        for entry, draw in zip(self.plan["custodians"], self.draws.letters):
            context = dealing.letter_context(self.place, entry["custodian"], self.plan_digest)
            letters[entry["custodian"]] = dealing.seal_letter(
                self.content(entry["custodian"]), entry["key"], context, scalar_of_wide(draw)
            )
        return letters

    def announced_key(self, key, kind, draw):
        """MASK-02, MASK-08: what the announcement has of one of the two keys."""
        context = dealing.key_context(self.place, kind)
        proof = dealing.prove_knowledge(key.secret, context, scalar_of_wide(draw))
        return {"commitments": key.commitments, "proof": proof}

    def announcement(self, letters, sketches, closed):
        """The body of the announcement; no member of the vectors has a budget."""
        dealt = [
            {"custodian": e["custodian"], "recipient": e["key"], "letter": digest("letter", letters[e["custodian"]])}
            for e in self.plan["custodians"]
        ]
        return {
            "epoch": self.plan["epoch"], "round": self.plan["round"], "plan": self.plan_digest,
            "mask_key": self.announced_key(self.mask_key, dealing.MASK_KEY, self.draws.mask_proof),
            "seed_key": self.announced_key(self.seed_key, dealing.SEED_KEY, self.draws.seed_proof),
            "has_budget": False, "closed": closed, "dealings": dealt, "sketches": sketches,
        }

    def own_seeds(self, blocks):
        """`RevealedSeeds` of the member itself."""
        return self.round_seeds.reveal(self.seed_key.secret, self.number, MEMBER_ITSELF, blocks)

    def parts(self, custodian, blocks):
        """`RevealedSeeds` of a custodian: its parts, as its share of the seed key makes them."""
        share = decode_scalar(self.seed_key.share(custodian))
        parts = self.round_seeds.reveal(share, self.number, custodian, blocks)
        self.round_seeds.verify(self.seed_key.public_share(custodian), self.number, custodian, parts)
        return parts


def block_context(plan, plan_digest, manifest, block):
    """What all masks of a block share."""
    shape = plan["settings"]["blocks"][block]["shape"]
    return {
        "epoch": plan["epoch"], "plan": plan_digest, "manifest": manifest, "round": plan["round"],
        "block": block, "ring_bits": plan["settings"]["ring"], "length": shape["length"],
    }


def mask_blocks(dealer, cohorts, manifest, integers, public_keys):
    """MASK-09: the packed masked blocks of a member, by number."""
    packed = {}
    for cohort in cohorts:
        weights = {entry["member"]: entry["weight"] for entry in cohort["members"]}
        if dealer.number not in weights:
            continue
        block = cohort["block"]
        context = block_context(dealer.plan, dealer.plan_digest, manifest, block)
        others = [member for member in weights if member != dealer.number]
        agreed = {other: dealing.agree(dealer.mask_key.secret, public_keys[other]) for other in others}
        words = masking.masked_words(
            context, dealer.number, weights[dealer.number], integers[block], dealer.seed(block), agreed,
        )
        packed[block] = masking.pack(words, context["ring_bits"])
    return packed


def open_sum(context, present, absent, packed, seeds, mask_keys, public_keys):
    """MASK-10: the sum's words, from packed blocks, revealed seeds and recovered mask keys."""
    words = [0] * context["length"]
    for member in present:
        words = masking.add(words, masking.unpack(packed[member], context["ring_bits"]), 1)
        own = masking.self_key(context, member, seeds[member])
        words = masking.add(words, masking.expand(own, len(words)), -1)
    for gone in absent:
        for member in present:
            agreed = dealing.agree(mask_keys[gone], public_keys[member])
            mask = masking.expand(masking.pair_key(context, member, gone, agreed), len(words))
            words = masking.add(words, mask, -1 if member < gone else 1)
    return [word % 2 ** context["ring_bits"] for word in words]
