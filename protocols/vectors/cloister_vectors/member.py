"""What one member does in a round: secrets, announcement and letters, masked blocks (steps 2 and 4)."""

from . import dealing, masking
from .hashing import digest, path, root
from .ristretto import BASE, scalar_bytes, scalar_of_wide
from .samples import wide


class Draws:
    """The 64 random bytes behind every scalar that a member draws, by what it is for."""

    def __init__(self, member, blocks, holders, threshold):
        of = lambda *what: wide(" ".join(map(str, (f"member {member}", *what))))
        self.mask_key = of("mask key")
        self.seeds = [of("seed", block) for block in range(blocks)]
        self.coefficients = [
            [of("coefficient", secret, power) for power in range(1, threshold)] for secret in range(1 + blocks)
        ]
        self.letters = [of("letter", holder) for holder in holders]
        self.proof = of("proof")

    def to_json(self):
        hexes = lambda values: [value.hex() for value in values]
        return {
            "mask_key": self.mask_key.hex(), "seeds": hexes(self.seeds),
            "coefficients": [hexes(row) for row in self.coefficients], "letters": hexes(self.letters),
            "proof": self.proof.hex(),
        }


class Dealer:
    """A member's secrets of one round, dealt to the plan's custodians."""

    def __init__(self, number, plan, plan_digest, threshold):
        self.number, self.plan, self.plan_digest = number, plan, plan_digest
        self.custodians = [entry["custodian"] for entry in plan["custodians"]]
        self.draws = Draws(number, len(plan["settings"]["blocks"]), self.custodians, threshold)
        self.mask_key = scalar_of_wide(self.draws.mask_key)
        self.seeds = [scalar_of_wide(draw) for draw in self.draws.seeds]
        self.place = dealing.place(plan["epoch"], plan["round"], number)
        self.public = (self.mask_key * BASE).encode()
        self.shares = self._split()

    def _split(self):
        """For each custodian its shares, by index."""
        secrets = [self.mask_key, *self.seeds]
        rows = [
            dealing.split([secret, *map(scalar_of_wide, higher)], self.custodians)
            for secret, higher in zip(secrets, self.draws.coefficients)
        ]
        return {c: [scalar_bytes(row[at]) for row in rows] for at, c in enumerate(self.custodians)}

    def leaves(self, custodian):
        """The leaf hashes of a custodian's shares."""
        leaf = lambda index, share: dealing.share_leaf(self.place, custodian, index, share)
        return [leaf(index, share) for index, share in enumerate(self.shares[custodian])]

    def letters(self):
        """The sealed letters by custodian."""
        letters = {}
        for entry, draw in zip(self.plan["custodians"], self.draws.letters):
            context = dealing.letter_context(self.place, entry["custodian"], self.plan_digest)
            content = b"".join(self.shares[entry["custodian"]])
            letters[entry["custodian"]] = dealing.seal_letter(
                content, entry["key"], context, scalar_of_wide(draw)
            )
        return letters

    def announcement(self, letters, sketches):
        """The body of the announcement."""
        proof = dealing.prove_knowledge(self.mask_key, self.place, scalar_of_wide(self.draws.proof))
        commit = lambda block, seed: dealing.seed_commitment(self.place, block, scalar_bytes(seed))
        dealt = [
            {"custodian": c, "shares": root(self.leaves(c)), "letter": digest("letter", letters[c])}
            for c in self.custodians
        ]
        return {
            "epoch": self.plan["epoch"], "round": self.plan["round"], "plan": self.plan_digest,
            "mask_key": self.public, "mask_key_proof": proof,
            "seeds": [commit(block, seed) for block, seed in enumerate(self.seeds)],
            "dealings": dealt, "sketches": sketches,
        }

    def revealed_share(self, custodian, index):
        """A custodian's share with its path to the announced root."""
        share = self.shares[custodian][index]
        return {"index": index, "share": share, "path": path(self.leaves(custodian), index)}


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
        agreed = {other: dealing.agree(dealer.mask_key, public_keys[other]) for other in others}
        words = masking.masked_words(
            context, dealer.number, weights[dealer.number], integers[block],
            scalar_bytes(dealer.seeds[block]), agreed,
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
