"""Digests with a domain (HASH-01) and RFC 6962 trees."""

import hashlib

from .refusal import require

DOMAINS = [
    "epoch", "task", "body", "parameters", "model", "letter", "masked-block", "sum", "late", "opening", "projection",
    "enrolment", "governance-key",
]
# Not in `digests.json`, which was published before them.
INVITATION_DOMAINS = ["invitation", "invitation-token"]


def u32(value):
    """Big-endian, as on the page about masking."""
    return value.to_bytes(4, "big")


def u64(value):
    """Big-endian, as on the page about masking."""
    return value.to_bytes(8, "big")


def u32_little(value):
    """Little-endian, as on the wire."""
    return value.to_bytes(4, "little")


def tagged(tag):
    """A tag behind its length."""
    return bytes([len(tag)]) + tag


def wide_hash(tag, *parts):
    """`SHA-512(len(tag):u8 ‖ tag ‖ parts…)`, the 64 bytes from which scalars and elements of the group are made."""
    return hashlib.sha512(tagged(tag) + b"".join(parts)).digest()


def digest(domain, *parts):
    """`SHA-256(len(tag):u8 ‖ tag ‖ parts…)`."""
    assert domain in DOMAINS + INVITATION_DOMAINS
    return hashlib.sha256(tagged(b"cloister/v1/" + domain.encode()) + b"".join(parts)).digest()


def body_digest(body):
    """The digest that statements name a body by."""
    return digest("body", body)


def leaf_hash(leaf):
    """RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left, right):
    """RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size):
    """The largest power of two below the size."""
    power = 1
    while 2 * power < size:
        power *= 2
    return power


def root(leaves):
    """The root over leaf hashes."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    at = _split(len(leaves))
    return node_hash(root(leaves[:at]), root(leaves[at:]))


def path(leaves, index):
    """The audit path of a leaf hash, from the leaf up (RFC 6962 section 2.1.1)."""
    if len(leaves) < 2:
        return []
    at = _split(len(leaves))
    if index < at:
        return path(leaves[:at], index) + [root(leaves[at:])]
    return path(leaves[at:], index - at) + [root(leaves[:at])]


def root_of_path(leaf, index, size, siblings):
    """The root that a path leads to, by the same recursion as the tree."""
    if size == 1:
        require(not siblings, "path")
        return leaf
    require(bool(siblings), "path")
    at = _split(size)
    if index < at:
        return node_hash(root_of_path(leaf, index, at, siblings[:-1]), siblings[-1])
    return node_hash(siblings[-1], root_of_path(leaf, index - at, size - at, siblings[:-1]))


def verify_path(tree_root, leaf, index, size, siblings):
    """Refuses a path that does not lead from the leaf hash at this index to the root."""
    require(0 <= index < size, "path")
    require(root_of_path(leaf, index, size, siblings) == tree_root, "path")
