"""Vectors of evidence that bars a member, and of evidence that does not (ROUND-33, PLAN-14)."""

from . import bars, dealing
from .bad_dealings import BadDealings
from .crypto_files import bad, flip
from .framing import message_frame
from .hashing import digest
from .ristretto import scalar_of_wide
from .roster import GOVERNANCE, sign_file
from .samples import scalar, seed, wide
from .schema import BODIES
from .signing import public_key, sign
from .statements import signed

DEALER, CUSTODIAN = 3, 2


def draw(about):
    """The random bytes behind what a custodian shows."""
    return wide(f"evidence of {about}")


def frame(evidence):
    """The evidence as the coordinator sends it."""
    return message_frame({"BadDealing": evidence}).hex()


def good_evidence(dealt):
    """Evidence that bars: what is wrong with the letter, evidence."""
    for about, letter in dealt.letters():
        yield about, dealt.evidence(letter, draw(about))
    first = dealt.first
    yield "another dealer's letter", dealt.evidence(first.letters[1][dealt.custodian], b"")


def signed_again(dealt, signer, **fields):
    """The announcement with other fields, by any signer."""
    return signed("Announcement", dealt.body | fields, signer, dealt.first.seeds[signer])


def broken_evidence(dealt):
    """Evidence that bars nobody: step, what is wrong, evidence."""
    first, about = dealt.first, "another share of the seed key"
    letter = dict(dealt.letters())[about]
    right = dealt.evidence(letter, draw(about))
    good_letter = first.letters[dealt.dealer.number][dealt.custodian]
    of = lambda **fields: right | fields
    nonce, ephemeral = scalar_of_wide(draw(about)), scalar("a bad letter")
    other_key = dealing.prove_agreement(first.receiving[1], letter[:32], dealt.context, nonce)
    other_context = dealing.prove_agreement(dealt.secret, letter[:32], b"", nonce)
    by_dealer = dealing.prove_agreement(ephemeral, dealing.public_of(dealt.secret), dealt.context, nonce)
    yield "letter-fault", "a good letter", dealt.evidence(good_letter, draw("a good letter"))
    yield "letter-fault", "the agreement of another receiving key", of(agreed=other_key[0], proof=other_key[1])
    yield "letter-fault", "a proof for another context", of(proof=other_context[1])
    yield "letter-fault", "a proof by the ephemeral key", of(agreed=by_dealer[0], proof=by_dealer[1])
    yield "letter-fault", "another agreed element", of(agreed=dealing.public_of(ephemeral))
    yield "letter-fault", "the identity as agreed element", of(agreed=bytes(32))
    yield "letter-fault", "no element as agreed element", of(agreed=b"\xff" * 32)
    yield "letter-fault", "a bent proof", of(proof=flip(right["proof"]))
    yield "letter-fault", "zeros for a letter whose ephemeral key is proven", of(agreed=bytes(32), proof=bytes(64))
    yield "letter-fault", "a custodian that got no letter", of(custodian=6)
    yield "letter-fault", "another announcement", of(announcement=first.announcements[dealt.dealer.number])
    yield "letter-fault", "another letter than the announced one", of(letter=flip(letter))
    yield "letter-fault", "the good letter in place of the bad one", of(letter=good_letter)
    yield "letter-fault", "another custodian", of(custodian=1)
    yield "letter-fault", "no letter", of(letter=b"")
    damaged = right["announcement"] | {"signature": flip(right["announcement"]["signature"])}
    yield "signature", "a damaged signature", of(announcement=damaged)
    yield "signature", "another member's name", of(announcement=right["announcement"] | {"signer": 1})
    yield "role", "signed by the coordinator", of(announcement=signed_again(dealt, 0))
    yield "role", "a signer that is no party", of(announcement=right["announcement"] | {"signer": 9})
    rows = [row | {"letter": digest("letter", letter)} for row in dealt.body["dealings"]]
    elsewhere = signed_again(dealt, dealt.dealer.number, epoch=seed("epoch"), dealings=rows)
    yield "mismatch", "another epoch", of(announcement=elsewhere)
    body = right["announcement"]["body"] + b"\x00"
    longer = right["announcement"] | {"body": body, "signature": sign_announcement(dealt, body)}
    yield "trailing", "trailing bytes in the announcement", of(announcement=longer)


def sign_announcement(dealt, body):
    """The dealer's signature on any bytes."""
    tag = BODIES["Announcement"][0]
    return sign(dealt.first.seeds[dealt.dealer.number], tag, body)


def bar_file(first):
    """Evidence with whom it bars and from which rounds, and evidence that is none."""
    dealt, roster = BadDealings(first, DEALER, CUSTODIAN), first.roster
    cases = []
    for about, evidence in good_evidence(dealt):
        member, number = bars.check_evidence(roster, evidence)
        assert (member, number) == (DEALER, first.number), about
        rounds = [[t, bars.bars(number, t)] for t in (number - 1, number, number + 1, number + 16, number + 17, 2**40)]
        cases.append({"why": about, "frame": frame(evidence), "member": member, "round": number, "bars": rounds})
    wrong = [
        bad(step, bars.check_evidence, (roster, evidence), why=about, frame=frame(evidence))
        for step, about, evidence in broken_evidence(dealt)
    ]
    return {
        "consortium": roster.text, "signature": sign_file(roster.text).hex(),
        "governance": public_key(GOVERNANCE).hex(), "cases": cases, "bad": wrong,
    }
