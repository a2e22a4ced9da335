"""Ed25519 signatures over `tag ‖ 0x00 ‖ body` (WIRE-04)."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .refusal import Refused


def public_key(seed):
    """The public key of a 32-byte seed."""
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _tagged(tag, message):
    return tag.encode() + b"\x00" + message


def sign(seed, tag, message):
    """The signature's 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(_tagged(tag, message))


def verify(public, tag, message, signature):
    """Refuses a signature that does not fit."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _tagged(tag, message))
    except (InvalidSignature, ValueError):
        raise Refused("signature") from None
