"""Proofs of knowledge and of agreement, and letters (MASK-02, MASK-12, MASK-13)."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .hashing import u32, u64, wide_hash
from .refusal import Refused, require
from .ristretto import BASE, decode_public, decode_scalar, scalar_bytes, scalar_of_wide

SUITE = b"cloister-v1-r255"
MASK_KEY, SEED_KEY = 0, 1


def place(epoch, round_number, dealer):
    """What proofs and letters are bound to."""
    return epoch + u64(round_number) + u32(dealer)


def key_context(where, kind):
    """MASK-02: what the proof of knowledge of a mask key or a seed key is bound to."""
    return where + bytes([kind])


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
    return scalar_of_wide(wide_hash(b"cloister/v1/knowledge", element, commitment, context))


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
    return scalar_of_wide(wide_hash(b"cloister/v1/agreement", public, other, agreed, *commitments, context))


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


def letter_context(where, custodian, plan):
    """MASK-12."""
    return where + u32(custodian) + plan


def _letter_key(agreed, ephemeral, recipient, context):
    return AESGCM(derive(agreed, b"cloister/v1/letter-key" + ephemeral + recipient + context))


def seal_letter(content, recipient, context, ephemeral):
    """MASK-12, with the ephemeral scalar given."""
    public = public_of(ephemeral)
    key = _letter_key(agree(ephemeral, recipient), public, recipient, context)
    nonce = scalar_of_wide(wide_hash(b"cloister/v1/letter-nonce", scalar_bytes(ephemeral), context))
    proof = prove_knowledge(ephemeral, b"cloister/v1/letter" + context, nonce)
    return public + proof + key.encrypt(bytes(12), content, context)


def verify_ephemeral(letter, context):
    """Refuses a letter whose dealer does not prove that it made the ephemeral key for this context."""
    verify_knowledge(letter[:32], b"cloister/v1/letter" + context, letter[32:96])


def decrypt_letter(letter, agreed, recipient, context):
    """What everybody reads in a letter of which it knows the agreed element."""
    try:
        return _letter_key(agreed, letter[:32], recipient, context).decrypt(bytes(12), letter[96:], context)
    except (InvalidTag, ValueError):
        raise Refused("letter") from None


def open_letter(letter, secret, context):
    """The content of a letter, for the custodian whose receiving key's secret this is."""
    try:
        verify_ephemeral(letter, context)
        return decrypt_letter(letter, agree(secret, letter[:32]), public_of(secret), context)
    except Refused:
        raise Refused("letter") from None
