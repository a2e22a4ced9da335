"""Seeds of blocks, parts of them, and the proof for several at once (MASK-14, MASK-15)."""

from .dealing import prove_agreement, public_of, verify_agreement
from .hashing import u32, u64, wide_hash
from .refusal import require
from .ristretto import IDENTITY, decode_public, element_of_wide, scalar_bytes, scalar_of_wide


# MASK-15: `by` of the seeds that a member reveals itself.
MEMBER_ITSELF = 0


def weighted(transcript, elements):
    """MASK-15: the sum of blocks' elements with the weights that follow from the transcript, encoded."""
    total = IDENTITY
    for block, element in elements:
        total = total + scalar_of_wide(wide_hash(b"cloister/v1/seed-weight", transcript, u32(block))) * element
    return total.encode()


def check_list(listed):
    """MASK-15: refuses a list that is empty or does not ascend, and what is no element."""
    blocks = [entry["block"] for entry in listed]
    require(blocks and blocks == sorted(set(blocks)), "blocks")
    for entry in listed:
        decode_public(entry["seed"])


class RoundSeeds:
    """What all seeds of a round are bound to."""

    def __init__(self, epoch, round_number, plan):
        self.epoch, self.round, self.plan = epoch, round_number, plan

    def place(self):
        """`epoch[32] ‖ t:u64 ‖ plan[32]`."""
        return self.epoch + u64(self.round) + self.plan

    def base(self, block):
        """MASK-14: `B[b]`."""
        return element_of_wide(wide_hash(b"cloister/v1/seed-base", self.place(), u32(block)))

    def element(self, secret, block):
        """`x·B[b]`: the block's seed, or a custodian's part of it."""
        return (secret * self.base(block)).encode()

    def transcript(self, dealer, by, key, listed):
        """MASK-15: `T`."""
        rows = b"".join(u32(entry["block"]) + entry["seed"] for entry in listed)
        return wide_hash(
            b"cloister/v1/seed-batch", self.place(), u32(dealer), u32(by), key, u32(len(listed)), rows
        )

    def combined_bases(self, listed, transcript):
        """MASK-15: `M`."""
        return weighted(transcript, [(entry["block"], self.base(entry["block"])) for entry in listed])

    def prove(self, secret, dealer, by, listed):
        """MASK-15: the proof for a list of blocks with their elements."""
        transcript = self.transcript(dealer, by, public_of(secret), listed)
        bases = self.combined_bases(listed, transcript)
        nonce = scalar_of_wide(wide_hash(b"cloister/v1/seeds-nonce", scalar_bytes(secret), transcript))
        return prove_agreement(secret, bases, b"cloister/v1/seeds" + transcript, nonce)[1]

    def reveal(self, secret, dealer, by, blocks):
        """`RevealedSeeds`: the elements of these blocks with their proof."""
        listed = [{"block": block, "seed": self.element(secret, block)} for block in blocks]
        revealed = {"seeds": listed, "proof": self.prove(secret, dealer, by, listed)}
        self.verify(public_of(secret), dealer, by, revealed)
        return revealed

    def verify(self, key, dealer, by, revealed):
        """Refuses seeds, or parts of them, that the secret behind `key` did not make."""
        check_list(revealed["seeds"])
        transcript = self.transcript(dealer, by, key, revealed["seeds"])
        bases = self.combined_bases(revealed["seeds"], transcript)
        seeds = weighted(transcript, [(row["block"], decode_public(row["seed"])) for row in revealed["seeds"]])
        verify_agreement(key, bases, seeds, b"cloister/v1/seeds" + transcript, revealed["proof"])
