"""Keys that custodians share, with commitments by which every share is checked (MASK-08, MASK-11)."""

from .dealing import public_of
from .refusal import Refused, require
from .ristretto import IDENTITY, ORDER, decode, decode_public, decode_scalar, scalar_bytes


def value_at(coefficients, holder):
    """The polynomial's value at a holder's number; its value at 0 is the first coefficient."""
    return sum(c * pow(holder, power, ORDER) for power, c in enumerate(coefficients)) % ORDER


def split(coefficients, holders):
    """MASK-11: the holders' shares, as scalars."""
    return [value_at(coefficients, holder) for holder in holders]


def commit(coefficients):
    """MASK-08: `C_j` for each coefficient."""
    return [public_of(coefficient) for coefficient in coefficients]


def check_commitments(commitments, threshold):
    """MASK-08: refuses another number of commitments, and commitments that are no elements or the identity."""
    require(len(commitments) == threshold, "commitments")
    try:
        for commitment in commitments:
            decode_public(commitment)
    except Refused:
        raise Refused("commitments") from None


def public_share(commitments, holder):
    """MASK-11: the element that a holder's share must give."""
    total = IDENTITY
    for power, commitment in enumerate(commitments):
        total = total + pow(holder, power, ORDER) * decode(commitment)
    return total.encode()


def check_share(commitments, holder, share):
    """MASK-11: refuses 0, a share whose element is not its holder's public share, and bytes that are no scalar."""
    try:
        scalar = decode_scalar(share)
    except Refused:
        raise Refused("share") from None
    require(scalar != 0 and public_of(scalar) == public_share(commitments, holder), "share")


def weight_at_zero(holder, holders):
    """Lagrange's coefficient of a holder at 0."""
    weight = 1
    for other in holders:
        if other != holder:
            weight = weight * other * pow(other - holder, -1, ORDER) % ORDER
    return weight


def _used(threshold, points):
    """The first points of enough holders, and these holders."""
    require(len(points) >= threshold, "too-few")
    used = points[:threshold]
    holders = [holder for holder, _ in used]
    require(len(set(holders)) == threshold and 0 not in holders, "holders")
    return used, holders


def combine(threshold, shares):
    """The secret behind pairs of holder and share bytes, from the first `threshold` of them."""
    used, holders = _used(threshold, shares)
    secret = 0
    for holder, share in used:
        try:
            value = decode_scalar(share)
        except Refused:
            raise Refused("not-canonical") from None
        secret = (secret + value * weight_at_zero(holder, holders)) % ORDER
    return secret


def combine_elements(threshold, parts):
    """MASK-14: the element behind pairs of holder and encoded part, from the first `threshold` of them."""
    used, holders = _used(threshold, parts)
    total = IDENTITY
    for holder, part in used:
        total = total + weight_at_zero(holder, holders) * decode_public(part)
    return total.encode()


class SharedKey:
    """A key with the polynomial that shares it."""

    def __init__(self, coefficients):
        self.coefficients, self.secret = coefficients, coefficients[0]
        self.commitments = commit(coefficients)
        self.public = self.commitments[0]

    def share(self, holder):
        """A holder's share, as bytes."""
        return scalar_bytes(value_at(self.coefficients, holder))

    def public_share(self, holder):
        """`x·G` of a holder's share, without its secret."""
        return public_share(self.commitments, holder)
