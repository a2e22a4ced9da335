"""What parties send and the coordinator must refuse (PLAN-09, ROUND-15, ROUND-24)."""

from .bad_dealings import BadDealings
from .dealing import prove_agreement, public_of
from .refused_reveals import DEALER, Right, broken_lists
from .refusal import step_of
from .refusals import flipped
from .revealing import check_listed
from .rfc_values import BAD_ELEMENTS
from .ristretto import ORDER, decode_scalar, scalar_bytes, scalar_of_wide
from .round_one import LATER_SEALERS, LEFT_BEFORE_REVEAL, LEFT_BEFORE_UPLOAD
from .samples import scalar, seed, wide
from .script import COORDINATOR, custodian, member
from .seeds import MEMBER_ITSELF

KEY_HOLDER = LATER_SEALERS[0]
# The steps at which this package refuses a list, all of which are the one of a reveal.
REFUSED = ("reveal", "blocks", "element", "proof")


def add_keys(refusals):
    """PLAN-09: receiving keys that are none, and statements about others."""
    first, sender = refusals.first, custodian(KEY_HOLDER)
    at = refusals.place_of(sender, "ReceivingKey")
    good = refusals.message(at)["ReceivingKey"]
    key = public_of(first.receiving[KEY_HOLDER])
    of = lambda **fields: refusals.signed("ReceivingKey", first.names(key=key) | fields, KEY_HOLDER)
    for step, about, statement in [
        ("receiving-key", "the identity as receiving key", of(key=bytes(32))),
        ("receiving-key", "no element as receiving key", of(key=BAD_ELEMENTS[6])),
        ("mismatch", "a receiving key for another round", of(round=first.number + 1)),
        ("mismatch", "a receiving key for another epoch", of(epoch=seed("another epoch"))),
        ("signature", "a receiving key with a damaged signature", good | {"signature": flipped(good["signature"])}),
    ]:
        refusals.add(at, COORDINATOR, step, about, {"ReceivingKey": statement})


def add_complaints(refusals):
    """ROUND-24: complaints that do not show that a letter is bad."""
    first, sender = refusals.first, custodian(KEY_HOLDER)
    at = refusals.place_of(sender, "LetterOpened")
    dealer = refusals.message(at)["LetterOpened"]["dealer"]
    dealt = BadDealings(first, dealer, KEY_HOLDER)
    letter, nonce = first.letters[dealer][KEY_HOLDER], scalar_of_wide(wide("a complaint without reason"))
    agreed, proof = prove_agreement(dealt.secret, letter[:32], dealt.context, nonce)
    other = prove_agreement(first.receiving[2], letter[:32], dealt.context, nonce)
    elsewhere = prove_agreement(dealt.secret, letter[:32], b"", nonce)
    fault = lambda agreed, proof: {"LetterFault": {"round": 1, "dealer": dealer, "agreed": agreed, "proof": proof}}
    for about, message in [
        ("a good letter", fault(agreed, proof)), ("another receiving key", fault(*other)),
        ("a proof for another context", fault(*elsewhere)), ("a bent proof", fault(agreed, flipped(proof))),
        ("another element", fault(public_of(nonce), proof)), ("nothing shown", fault(bytes(32), bytes(64))),
    ]:
        refusals.add(at, COORDINATOR, "letter-fault", f"a complaint: {about}", message)


def add_shares(refusals):
    """MASK-11: shares of a mask key that the coordinator refuses of a custodian."""
    first, sender = refusals.first, custodian(KEY_HOLDER)
    dealer = first.dealers[LEFT_BEFORE_UPLOAD]
    at = refusals.place_of(sender, "MaskKeyShare")
    good = refusals.message(at)["MaskKeyShare"]
    share = good["share"]
    for about, value in [
        ("another share", scalar_bytes(scalar("another share"))), ("another custodian's share", dealer.mask_key.share(2)),
        ("a share of the seed key", dealer.seed_key.share(KEY_HOLDER)), ("zero", bytes(32)),
        ("a share that is not reduced", (decode_scalar(share) + ORDER).to_bytes(32, "little")),
        ("the mask key itself", scalar_bytes(dealer.mask_key.secret)), ("no scalar", b"\xff" * 32),
    ]:
        refusals.add(at, COORDINATOR, "reveal", f"of a mask key, {about}", {"MaskKeyShare": good | {"share": value}})


def add_lists(refusals, sender, variant, field, right):
    """MASK-15: seeds or parts that the coordinator refuses."""
    at = refusals.place_of(sender, variant)
    good = refusals.message(at)[variant]
    for about, listed in broken_lists(right):
        key = public_of(right.secret)
        assert step_of(check_listed, right.first, right.dealer.number, key, right.by, listed) in REFUSED, about
        refusals.add(at, COORDINATOR, "reveal", f"from {sender}, {about}", {variant: good | {field: listed}})


def add_reveals(refusals):
    """ROUND-15: seeds, parts and shares."""
    add_shares(refusals)
    first = refusals.first
    add_lists(refusals, member(DEALER), "Seeds", "seeds", Right(first, DEALER, MEMBER_ITSELF))
    if first.left_before_reveal is not None:
        right = Right(first, LEFT_BEFORE_REVEAL, KEY_HOLDER)
        add_lists(refusals, custodian(KEY_HOLDER), "SeedParts", "parts", right)


def add_requests(refusals):
    """ROUND-42: parts that the model does not have."""
    at = refusals.place_of(member(LEFT_BEFORE_REVEAL), "ModelRequest")
    good = refusals.message(at)["ModelRequest"]
    entry = lambda block, first=0: {"block": block, "first": first}
    last = len(good["missing"])
    for about, missing in [
        ("no block", [entry(last)]), ("a part behind the last", [entry(0, 1)]),
        ("blocks that do not ascend", [entry(1), entry(0)]), ("a block twice", [entry(0), entry(0)]),
    ]:
        message = {"ModelRequest": good | {"missing": missing}}
        refusals.add(at, COORDINATOR, "missing-parts", f"a request for {about}", message)


def add(refusals):
    """Everything that the coordinator refuses of a round."""
    add_keys(refusals)
    add_complaints(refusals)
    add_reveals(refusals)
