"""Late sketches: their seeds, rows and bounds (LATE-02, LATE-04)."""

from math import isqrt

from .hashing import digest, u32
from .sketching import stream

ROWS = 48
# Blocks with fewer coordinates have no late sketch (LATE-01).
SKETCHED_LENGTH = 100 * ROWS


def projection_seed(seal2, block, seeds):
    """The seed that follows from the second seal and the seeds of a cohort, ascending by member."""
    return digest("late", seal2, u32(block), b"".join(seeds))


def may_be_sketched(shape):
    """LATE-01: a block that is long enough, and not of regions."""
    return shape["length"] >= SKETCHED_LENGTH and "Regions" not in shape["kind"]


def entry(present, plus, row):
    """An entry of the projection: 0, 1 or -1."""
    if not present >> row & 1:
        return 0
    return 1 if plus >> row & 1 else -1


def rows(seed, words, bits):
    """The 48 sums over words of a ring."""
    data = stream(seed, 0, 16 * len(words))
    sums = [0] * ROWS
    for at, word in enumerate(words):
        present, plus = (int.from_bytes(data[start:start + 8], "little") for start in (16 * at, 16 * at + 8))
        sums = [total + entry(present, plus, row) * word for row, total in enumerate(sums)]
    return [total % 2**bits for total in sums]


def late_bound(row, weight):
    """The largest sum of squares of an honest late sketch of a block of the plan."""
    clip, noise = row["scale"]["clip_steps"], row["noise_steps"]
    size = clip + (1 + 2 * noise) * (isqrt(row["shape"]["length"]) + 1)
    if "Router" in row["shape"]["kind"]:
        size += clip
    return 2 * ROWS * (weight * size) ** 2
