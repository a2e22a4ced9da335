"""Values that look random and follow from a label, so that every run writes the same files."""

import hashlib

from .fixed import single
from .ristretto import scalar_of_wide


def seed(label):
    """Thirty-two bytes."""
    return hashlib.sha256(b"cloister vectors: " + label.encode()).digest()


def wide(label):
    """Sixty-four bytes, from which a scalar is drawn."""
    return hashlib.sha512(b"cloister vectors: " + label.encode()).digest()


def scalar(label):
    """The scalar of those bytes."""
    return scalar_of_wide(wide(label))


def integers(label, count, low, high):
    """Integers from `low` to `high`, both included."""
    width = high - low + 1
    word = lambda at: int.from_bytes(seed(f"{label} {at}")[:8], "little")
    return [low + word(at) % width for at in range(count)]


def singles(label, count, size):
    """Single-precision numbers between `-size` and `size`."""
    return [single(size * value / 2**20) for value in integers(label, count, -(2**20), 2**20)]
