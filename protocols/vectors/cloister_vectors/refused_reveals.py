"""What is revealed and must be refused by those that it is relayed to (ROUND-01, ROUND-15)."""

from .refusal import step_of
from .refusals import flipped
from .rfc_values import BAD_ELEMENTS
from .revealing import check_reveal
from .ristretto import ORDER, decode_scalar, scalar_bytes
from .round_one import LEFT_BEFORE_REVEAL, LEFT_BEFORE_UPLOAD, seed_parts
from .samples import scalar
from .seeds import MEMBER_ITSELF

RECEIVER, DEALER, OTHER = "custodian 1", 1, 2


def proven(dealer, by, secret, listed):
    """Elements as given, with a proof that this secret makes for them."""
    return {"seeds": listed, "proof": dealer.round_seeds.prove(secret, dealer.number, by, listed)}


def share_of(dealer, holder):
    """A custodian's share of a member's seed key."""
    return decode_scalar(dealer.seed_key.share(holder))


class Right:
    """What one party reveals of a dealer, and the secret behind it; `by` is 0 for the dealer itself."""

    def __init__(self, first, dealer, by):
        self.first, self.dealer, self.by = first, first.dealers[dealer], by
        self.secret = self.dealer.seed_key.secret if by == MEMBER_ITSELF else share_of(self.dealer, by)
        self.blocks = first.permitted_blocks(dealer)
        self.seeds = self.dealer.round_seeds.reveal(self.secret, dealer, by, self.blocks)

    def over(self, blocks):
        """A right proof over other blocks than the seals permit."""
        listed = [{"block": b, "seed": self.dealer.round_seeds.element(self.secret, b)} for b in blocks]
        return proven(self.dealer, self.by, self.secret, listed)


def broken_lists(right):
    """Seeds, or parts, of which something is wrong: what, the list with its proof."""
    rows, proof, blocks = right.seeds["seeds"], right.seeds["proof"], right.blocks
    with_rows = lambda listed: {"seeds": listed, "proof": proof}
    first = lambda data: with_rows([rows[0] | {"seed": data}, *rows[1:]])
    yield "another element", first(rows[1]["seed"])
    yield "the identity", first(bytes(32))
    yield "no element", first(BAD_ELEMENTS[3])
    yield "a scalar in place of an element", first(scalar_bytes(right.secret))
    other = [rows[0] | {"seed": right.dealer.round_seeds.element(scalar("another seed"), blocks[0])}, *rows[1:]]
    yield "another element under a proof for it", proven(right.dealer, right.by, right.secret, other)
    exchanged = [rows[0] | {"seed": rows[1]["seed"]}, rows[1] | {"seed": rows[0]["seed"]}, *rows[2:]]
    yield "elements exchanged", proven(right.dealer, right.by, right.secret, exchanged)
    yield "a bent proof", {"seeds": rows, "proof": flipped(proof)}
    yield "a bent response", {"seeds": rows, "proof": proof[:32] + flipped(proof[32:])}
    yield "the proof of another secret", proven(right.dealer, right.by, scalar("another secret"), rows)
    yield "a block too few", right.over(blocks[1:])
    yield "a block too many", right.over(sorted([*blocks, right.first.void[0]]))
    yield "a block twice", right.over([blocks[0], *blocks])
    yield "a block that there is not", right.over([*blocks, 99])
    yield "blocks not ascending", right.over(blocks[::-1])
    yield "no blocks", with_rows([])


def of_seeds(dealer, seeds):
    """A reveal of a member's own seeds."""
    return {"dealer": dealer, "secret": {"Seeds": seeds}}


def of_mask_key(dealer, key):
    """A reveal of a mask key."""
    return {"dealer": dealer, "secret": {"MaskKey": key}}


def made_by(first, dealer, by, number):
    """What a party's share makes of the dealer's blocks, under a proof in the name of `number`."""
    right = first.dealers[dealer]
    return right.round_seeds.reveal(share_of(right, by), dealer, number, first.permitted_blocks(dealer))


def broken_names(first):
    """Right elements and proofs under a wrong name: what is wrong, reveal."""
    own, left = Right(first, DEALER, MEMBER_ITSELF), LEFT_BEFORE_REVEAL
    yield "seeds of another member", of_seeds(OTHER, own.seeds)
    yield "a member's seeds as a custodian's parts", seed_parts(DEALER, OTHER, own.seeds)
    yield "a member's seeds as its own parts", seed_parts(DEALER, DEALER, own.seeds)
    in_own_name = own.dealer.round_seeds.reveal(own.secret, DEALER, DEALER, own.blocks)
    yield "a member's seeds under a proof with its number", of_seeds(DEALER, in_own_name)
    yield "a member's seeds as its own parts, under a proof with its number", seed_parts(DEALER, DEALER, in_own_name)
    parts = made_by(first, left, 1, 1)
    yield "another custodian's parts", seed_parts(left, 2, parts)
    yield "parts as a member's own seeds", of_seeds(left, parts)
    yield "parts under the proof of a member itself", seed_parts(left, 1, made_by(first, left, 1, MEMBER_ITSELF))
    yield "parts as a member's own seeds, under such a proof", of_seeds(left, made_by(first, left, 1, MEMBER_ITSELF))
    yield "parts of nobody", seed_parts(left, 9, made_by(first, left, 9, 9))
    yield "parts of the coordinator", seed_parts(left, 0, made_by(first, left, 0, 0))
    yield "parts of a member that is no custodian", seed_parts(DEALER, 6, made_by(first, DEALER, 6, 6))


def broken_permissions(first):
    """ROUND-01: secrets that the seals keep closed, and mask keys that are none: what is wrong, reveal."""
    gone, stayed = first.dealers[LEFT_BEFORE_UPLOAD], first.dealers[DEALER]
    blocks = [cohort["block"] for cohort in first.cohorts if any(m["member"] == gone.number for m in cohort["members"])]
    yield "seeds of a member that left", of_seeds(gone.number, gone.own_seeds(blocks))
    yield "parts of the seeds of a member that left", seed_parts(gone.number, 1, gone.parts(1, blocks))
    yield "the mask key of a member that stayed", of_mask_key(DEALER, scalar_bytes(stayed.mask_key.secret))
    yield "another mask key", of_mask_key(gone.number, scalar_bytes(scalar("another mask key")))
    yield "a share as mask key", of_mask_key(gone.number, gone.mask_key.share(1))
    yield "the seed key as mask key", of_mask_key(gone.number, scalar_bytes(gone.seed_key.secret))
    not_reduced = (gone.mask_key.secret + ORDER).to_bytes(32, "little")
    yield "a mask key that is not reduced", of_mask_key(gone.number, not_reduced)
    yield "the mask key of nobody", of_mask_key(9, scalar_bytes(gone.mask_key.secret))
    yield "seeds of nobody", of_seeds(9, Right(first, DEALER, MEMBER_ITSELF).seeds)


def broken_seeds(first):
    """A member's own seeds of which something is wrong: what, reveal."""
    for about, seeds in broken_lists(Right(first, DEALER, MEMBER_ITSELF)):
        yield f"seeds: {about}", of_seeds(DEALER, seeds)


def broken_reveals(first):
    """Everything that a custodian refuses of what the coordinator relays: what is wrong, reveal."""
    yield from broken_seeds(first)
    for about, parts in broken_lists(Right(first, LEFT_BEFORE_REVEAL, 1)):
        yield f"parts: {about}", seed_parts(LEFT_BEFORE_REVEAL, 1, parts)
    yield from broken_names(first)
    yield from broken_permissions(first)


def frames_until(refusals, receiver, start, variant):
    """What a receiver gets from the coordinator from an entry on, until it gets this variant of a message."""
    frames = []
    for at in range(start, len(refusals.script.entries)):
        entry = refusals.script.entries[at]
        if receiver in entry["to"]:
            if variant in refusals.decoded[entry["frame"]].get("message", {}):
                return frames, refusals.message(at)
            frames.append(refusals.script.frames[entry["frame"]])
    raise LookupError(variant)


def add_missing(refusals):
    """ROUND-22: a closing whose log has a reveal that was not relayed."""
    first = refusals.first
    at = refusals.place(RECEIVER, "Revealed", len(first.reveals) - 1)
    before, proposal = frames_until(refusals, RECEIVER, at + 1, "ProposeClosing")
    refusals.add(at, RECEIVER, "mismatch", "a reveal too few", proposal, before=before, fork=True)


def add_relayed(refusals):
    """ROUND-15, at a custodian."""
    at = refusals.place(RECEIVER, "Revealed")
    good = refusals.message(at)["Revealed"]
    for about, reveal in broken_reveals(refusals.first):
        assert step_of(check_reveal, refusals.first, reveal) == "reveal", about
        refusals.add(at, RECEIVER, "reveal", about, {"Revealed": good | {"reveal": reveal}})
    refusals.add(at, RECEIVER, "mismatch", "another round", {"Revealed": good | {"round": 2}})
    early = refusals.place(RECEIVER, "Sealed2")
    refusals.add(early, RECEIVER, "not-awaited", "a reveal before the second seal", {"Revealed": good})


def add(refusals):
    """What the first round refuses of reveals."""
    add_relayed(refusals)
    add_missing(refusals)
