"""Reals to integers and back (MASK-07, ROUND-20, ROUND-21, ALIGN-11, ALIGN-12), in IEEE 754 double precision."""

import math
import struct

from .hashing import digest, u32_little
from .refusal import require


def single(value):
    """Rounds once to single precision, ties to even."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def singles_to_bytes(values):
    """Single-precision numbers, little-endian."""
    return struct.pack(f"<{len(values)}f", *values)


def norm(values):
    """The L2 norm, summed in order."""
    total = 0.0
    for value in values:
        total += value * value
    return math.sqrt(total)


def within(limit, exact, integers):
    """MASK-07: one step toward zero each, until the norm is within the clip; first what was rounded away from zero."""
    integers, excess = list(integers), sum(value * value for value in integers) - limit * limit
    away = [at for at, value in enumerate(integers) if abs(value) > abs(exact[at])]
    for at in away + list(range(len(integers))):
        if excess > 0 and integers[at]:
            excess -= 2 * abs(integers[at]) - 1
            integers[at] -= 1 if integers[at] > 0 else -1
    return integers


def quantise(scale, router, update):
    """MASK-07: integers, and whether the clip changed anything. Python's `round` rounds ties to even."""
    require(all(math.isfinite(value) for value in update), "not-finite")
    step, limit = 2.0 ** scale["step_log2"], scale["clip_steps"]
    bounded = lambda steps: max(-limit, min(limit, round(steps)))
    inside = update[:-1] if router else update
    length, clip = norm(inside), limit * step
    shrink = clip / length if length > clip else 1.0
    exact = [value * shrink / step for value in inside]
    integers = within(limit, exact, [bounded(value) for value in exact])
    if router:
        integers.append(bounded(max(0.25, min(1.0, update[-1])) * limit))
    return integers, shrink < 1.0


def _add_mean(scale, parameters, total, divisor):
    step = 2.0 ** scale["step_log2"]
    return [single(old + entry * step / divisor) for old, entry in zip(parameters, total)]


def ceil_root(value):
    """The square root, rounded up."""
    return math.isqrt(value) + (math.isqrt(value) ** 2 < value)


def apply(scale, kind, parameters, total, weight, max_weight=1, noise_steps=0):
    """ROUND-21: the block's parameters after a lifted sum; ALIGN-12 for routers."""
    if kind == "Router":
        low, high = weight * (scale["clip_steps"] // 4), weight * scale["clip_steps"]
        reach = 6 * noise_steps * ceil_root(max_weight * weight)
        require(low - reach <= total[-1] <= high + reach, "consistency-weight")
        divisor = max(low, min(high, total[-1])) / scale["clip_steps"]
        return _add_mean(scale, parameters, total[:-1], divisor) + [parameters[-1]]
    if kind == "Routing":
        positive = [max(0, entry) for entry in total]
        whole = sum(positive)
        return [single(entry / whole) for entry in positive] if whole else parameters
    if kind == "Evaluation":
        return [single(max(0, entry) * 2.0 ** scale["step_log2"]) for entry in total]
    if kind == "Regions":
        return [single(entry * 2.0 ** scale["step_log2"] / weight) for entry in total]
    return _add_mean(scale, parameters, total, float(weight))


def block_digests(blocks):
    """ROUND-20: the digests of blocks of single-precision numbers."""
    return [digest("parameters", singles_to_bytes(values)) for values in blocks]


def model_digest(blocks):
    """ROUND-20, over the digests of the blocks."""
    return digest("model", b"".join(block_digests(blocks)))


def consistency_weight(own, published, margins):
    """ALIGN-11, in double precision; a member computes it for itself."""
    reference = sum(value * value for value in published)
    if reference <= 0:
        return 1.0
    agreement = sum(p * g * max(0.0, m) for p, g, m in zip(own, published, margins))
    return max(0.25, min(1.0, 0.25 + 0.75 * agreement / reference))
