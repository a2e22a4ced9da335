"""Proofs of knowledge, Shamir shares, commitments and letters: what a member deals (MASK-01 to MASK-12)."""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .hashing import digest, leaf_hash, tagged, u32, u64
from .refusal import Refused, require
from .ristretto import BASE, ORDER, decode_public, decode_scalar, scalar_bytes, scalar_of_wide

SUITE = b"cloister-v1-r255"


def place(epoch, round_number, dealer):
    """What proofs and commitments are bound to."""
    return epoch + u64(round_number) + u32(dealer)


def derive(secret, info):
    """HKDF-SHA512 with the suite as salt, 32 bytes."""
    return HKDF(hashes.SHA512(), 32, SUITE, info).derive(secret)


def public_of(secret):
    """`s·G`, encoded."""
    return (secret * BASE).encode()


def agree(secret, public):
    """`s·P`, encoded."""
    return (secret * decode_public(public)).encode()


def _challenge(element, commitment, context):
    data = tagged(b"cloister/v1/knowledge") + element + commitment + context
    return scalar_of_wide(hashlib.sha512(data).digest())


def prove_knowledge(secret, context, nonce):
    """MASK-02, with the nonce given as a scalar."""
    commitment = public_of(nonce)
    challenge = _challenge(public_of(secret), commitment, context)
    return commitment + scalar_bytes(nonce + challenge * secret)


def verify_knowledge(element, context, proof):
    """Refuses a proof that does not fit."""
    public = decode_public(element)
    try:
        commitment, response = decode_public(proof[:32]), decode_scalar(proof[32:])
    except Refused:
        raise Refused("proof") from None
    challenge = _challenge(element, proof[:32], context)
    require(response * BASE + -(challenge * public) == commitment, "proof")


def _agreement_challenge(public, other, agreed, commitments, context):
    parts = [tagged(b"cloister/v1/agreement"), public, other, agreed, *commitments, context]
    return scalar_of_wide(hashlib.sha512(b"".join(parts)).digest())


def prove_agreement(secret, other, context, nonce):
    """MASK-13, with the nonce given as a scalar: the agreed element and the proof."""
    agreed = agree(secret, other)
    commitments = [public_of(nonce), agree(nonce, other)]
    challenge = _agreement_challenge(public_of(secret), other, agreed, commitments, context)
    return agreed, scalar_bytes(challenge) + scalar_bytes(nonce + challenge * secret)


def verify_agreement(public, other, agreed, context, proof):
    """Refuses a proof that does not fit."""
    own, base = decode_public(public), decode_public(other)
    try:
        shared, challenge, response = decode_public(agreed), decode_scalar(proof[:32]), decode_scalar(proof[32:])
    except Refused:
        raise Refused("proof") from None
    commitments = [response * BASE + -(challenge * own), response * base + -(challenge * shared)]
    encoded = [commitment.encode() for commitment in commitments]
    require(_agreement_challenge(public, other, agreed, encoded, context) == challenge, "proof")


def split(coefficients, holders):
    """MASK-11: the values of the polynomial, whose value at 0 is the first coefficient."""
    value = lambda x: sum(c * pow(x, power, ORDER) for power, c in enumerate(coefficients)) % ORDER
    return [value(holder) for holder in holders]


def combine(threshold, shares):
    """The secret behind pairs of holder and share bytes, from the first `threshold` of them."""
    require(len(shares) >= threshold, "too-few")
    used = shares[:threshold]
    holders = [holder for holder, _ in used]
    require(len(set(holders)) == threshold and 0 not in holders, "holders")
    secret = 0
    for holder, share in used:
        try:
            value = decode_scalar(share)
        except Refused:
            raise Refused("not-canonical") from None
        weight = 1
        for other in holders:
            if other != holder:
                weight = weight * other * pow(other - holder, -1, ORDER) % ORDER
        secret = (secret + value * weight) % ORDER
    return secret


def seed_commitment(where, block, seed):
    """MASK-08."""
    return digest("seed", where, u32(block), seed)


def share_leaf(where, custodian, index, share):
    """MASK-08: the leaf hash of a share."""
    return leaf_hash(digest("share", where, u32(custodian), u32(index), share))


def letter_context(where, custodian, plan):
    """MASK-12."""
    return where + u32(custodian) + plan


def _letter_key(agreed, ephemeral, recipient, context):
    return AESGCM(derive(agreed, b"cloister/v1/letter-key" + ephemeral + recipient + context))


def seal_letter(content, recipient, context, ephemeral):
    """MASK-12, with the ephemeral scalar given."""
    public = public_of(ephemeral)
    key = _letter_key(agree(ephemeral, recipient), public, recipient, context)
    data = tagged(b"cloister/v1/letter-nonce") + scalar_bytes(ephemeral) + context
    nonce = scalar_of_wide(hashlib.sha512(data).digest())
    proof = prove_knowledge(ephemeral, b"cloister/v1/letter" + context, nonce)
    return public + proof + key.encrypt(bytes(12), content, context)


def open_letter(letter, secret, context):
    """The content of a letter."""
    try:
        verify_knowledge(letter[:32], b"cloister/v1/letter" + context, letter[32:96])
        agreed = agree(secret, letter[:32])
        key = _letter_key(agreed, letter[:32], public_of(secret), context)
        return key.decrypt(bytes(12), letter[96:], context)
    except (Refused, InvalidTag, ValueError):
        raise Refused("letter") from None
