"""Mask keys, their expansion and packed words (MASK-03 to MASK-10)."""

import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from .dealing import SUITE, derive
from .hashing import digest, leaf_hash, root, u32, u32_little, u64

SELF, PAIR = 0, 1


def mask_context(common, role, low, high):
    """`ctx` of the page; `common` holds what all masks of a block share."""
    return b"".join([
        SUITE, common["epoch"], common["plan"], common["manifest"],
        u64(common["round"]), u32(common["block"]), bytes([role]), u32(low), u32(high),
        bytes([common["ring_bits"]]), u64(common["length"]),
    ])


def self_key(common, member, seed):
    """MASK-04."""
    return derive(seed, mask_context(common, SELF, member, member))


def pair_key(common, one, other, agreed):
    """MASK-03."""
    return derive(agreed, mask_context(common, PAIR, min(one, other), max(one, other)))


def expand(key, length):
    """MASK-05: the mask's words."""
    cipher = Cipher(algorithms.AES(key[:16]), modes.CTR(key[16:])).encryptor()
    stream = cipher.update(bytes(4 * length))
    return list(struct.unpack(f"<{length}I", stream))


def add(words, masks, sign):
    """Adds a mask with a sign, modulo 2³²."""
    return [(word + sign * mask) % 2**32 for word, mask in zip(words, masks)]


def pack(words, bits):
    """MASK-06."""
    return b"".join((word % 2**bits).to_bytes(bits // 8, "little") for word in words)


def unpack(packed, bits):
    """The words of packed bytes."""
    size = bits // 8
    return [int.from_bytes(packed[at:at + size], "little") for at in range(0, len(packed), size)]


def lift(word, bits):
    """The signed integer that a word's low bits stand for."""
    word %= 2**bits
    return word - 2**bits if word >= 2 ** (bits - 1) else word


def masked_words(common, member, weight, integers, seed, agreed_with):
    """MASK-09; `agreed_with` has the Diffie–Hellman element with every other member of the cohort."""
    words = [weight * integer % 2**32 for integer in integers]
    words = add(words, expand(self_key(common, member, seed), len(words)), 1)
    for other, agreed in sorted(agreed_with.items()):
        mask = expand(pair_key(common, member, other, agreed), len(words))
        words = add(words, mask, 1 if member < other else -1)
    return words


def upload_root(packed_blocks):
    """MASK-09: the root that a member signs, over its packed blocks by number."""
    leaf = lambda block: leaf_hash(digest("masked-block", u32_little(block), packed_blocks[block]))
    return root([leaf(block) for block in sorted(packed_blocks)])
