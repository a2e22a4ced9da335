"""Letters that hold what they must not, and what their custodian shows of them (MASK-13, ROUND-24, ROUND-33)."""

from . import bars, dealing
from .canonical import decode
from .hashing import digest
from .ristretto import ORDER, decode_scalar, scalar_bytes, scalar_of_wide
from .samples import scalar
from .schema import BODIES
from .statements import signed

ANNOUNCEMENT = BODIES["Announcement"][1]


class BadDealings:
    """Letters of one member of a round to one custodian."""

    def __init__(self, first, dealer, custodian):
        self.first, self.dealer, self.custodian = first, first.dealers[dealer], custodian
        self.body = decode(ANNOUNCEMENT, first.announcements[dealer]["body"])
        self.secret = first.receiving[custodian]
        self.context = dealing.letter_context(self.dealer.place, custodian, first.plan_digest)

    def sealed(self, content, recipient=None, context=None):
        """A letter with this content; to another receiving key, or for another context."""
        recipient = recipient or dealing.public_of(self.secret)
        return dealing.seal_letter(content, recipient, context or self.context, scalar("a bad letter"))

    def letters(self):
        """What is wrong, and the sealed letter."""
        mask, of_seeds = self.dealer.mask_key.share(self.custodian), self.dealer.seed_key.share(self.custodian)
        another, right = scalar_bytes(scalar("another share")), mask + of_seeds
        not_reduced = (decode_scalar(mask) + ORDER).to_bytes(32, "little")
        yield "sealed for another", self.sealed(right, recipient=dealing.public_of(self.first.receiving[1]))
        elsewhere = dealing.letter_context(self.dealer.place, 1, self.first.plan_digest)
        yield "another context", self.sealed(right, context=elsewhere)
        yield "a share too few", self.sealed(mask)
        yield "a share too many", self.sealed(right + mask)
        yield "a byte too many", self.sealed(right + b"\x00")
        yield "another share of the mask key", self.sealed(another + of_seeds)
        yield "another share of the seed key", self.sealed(mask + another)
        yield "shares exchanged", self.sealed(of_seeds + mask)
        yield "another custodian's shares", self.sealed(self.dealer.content(1))
        yield "a share that is not reduced", self.sealed(not_reduced + of_seeds)
        yield "nothing in it", self.sealed(b"")
        yield "cut short", self.sealed(right)[:40]

    def is_proven(self, letter):
        """Whether its ephemeral key was made for this dealing."""
        return bars.is_proven(letter, self.context)

    def shown(self, letter, draw):
        """ROUND-24: the agreed element and its proof; zeros of a letter whose ephemeral key is not proven."""
        if not self.is_proven(letter):
            return bytes(32), bytes(64)
        return dealing.prove_agreement(self.secret, letter[:32], self.context, scalar_of_wide(draw))

    def announced(self, letter):
        """The member's announcement with this letter in place of its own."""
        rows = [
            row | {"letter": digest("letter", letter)} if row["custodian"] == self.custodian else row
            for row in self.body["dealings"]
        ]
        number = self.dealer.number
        return signed("Announcement", self.body | {"dealings": rows}, number, self.first.seeds[number])

    def evidence(self, letter, draw):
        """`BadDealing`: what bars the member."""
        agreed, proof = self.shown(letter, draw)
        return {
            "announcement": self.announced(letter), "custodian": self.custodian, "letter": letter,
            "agreed": agreed, "proof": proof,
        }
