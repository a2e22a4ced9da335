"""Sketches: signs from ChaCha20 and the projection (ALIGN-01)."""

import math
from itertools import repeat

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from .fixed import norm

CLIP_STEPS = 8192


def stream(seed, nonce, length):
    """The ChaCha20 key stream with a 64-bit counter from 0 and a 64-bit nonce, both little-endian."""
    position = bytes(8) + nonce.to_bytes(8, "little")
    return Cipher(algorithms.ChaCha20(seed, position), None).encryptor().update(bytes(length))


def projection(seed, nonce, inputs, coordinates):
    """For each input coordinate the signs of the projection, +1 or -1."""
    words = -(-coordinates // 64)
    data = stream(seed, nonce, 8 * words * inputs)
    rows = []
    for index in range(inputs):
        row = data[8 * words * index:8 * words * (index + 1)]
        word = [int.from_bytes(row[8 * at:8 * at + 8], "little") for at in range(words)]
        rows.append([1 if word[j // 64] >> (j % 64) & 1 else -1 for j in range(coordinates)])
    return rows


def direction(seed, nonce, coordinates, vector):
    """ALIGN-14: the projection at norm 8192, whatever the vector's length; zeros for a vector without a direction."""
    rows = projection(seed, nonce, len(vector), coordinates)
    projected = [total / math.sqrt(coordinates) for total in column_sums(vector, rows, coordinates)]
    length = norm(projected)
    if length == 0 or not math.isfinite(length):
        return [0] * coordinates
    scale = CLIP_STEPS / length
    return [round(value * scale) for value in projected]


def column_sums(vector, rows, coordinates):
    """The sum of each coordinate, in the order of the inputs."""
    sums = [0.0] * coordinates
    for value, row in zip(vector, rows):
        for j, sign in enumerate(row):
            sums[j] += sign * value
    return sums


def centred_means(regions, counted):
    """ALIGN-14: hidden states less the mean of those that are counted, in double precision; empty ones stay empty."""
    finite = lambda region: region and all(math.isfinite(value) for value in region)
    kept = [region for region, is_counted in zip(regions, counted) if is_counted and finite(region)]
    if len(kept) < 2:
        return [list(region) for region in regions]
    share = 1.0 / len(kept)
    length = max((len(region) for region in regions), default=0)
    means = []
    for at in range(length):
        total = 0.0
        for region in kept:
            total += region[at]
        means.append(total * share)
    return [[value - mean for value, mean in zip(region, means)] for region in regions]


def pack_signs(values):
    """One bit for each value, 1 where it is at least 0: bit `j mod 8` of byte `j // 8`."""
    return bytes(
        sum(1 << at for at in range(8) if values[start + at] >= 0) for start in range(0, len(values), 8)
    )


def signs(update, region, coins=repeat(True)):
    """ALIGN-14: the signs of a projected update; those of its second half are turned where the region's are minus.
    Each 0 takes the next coin, in the order of the coordinates, an update's before a region's."""
    coins, half, values = iter(coins), len(update) - len(region), []
    for at, value in enumerate(update):
        sign = value or (1 if next(coins) else -1)
        if at >= half:
            sign *= region[at - half] or (1 if next(coins) else -1)
        values.append(sign)
    return pack_signs(values)


def centred(region, counted):
    """ALIGN-14: a region less the mean of those that are counted, times their number; of fewer than two, the region."""
    if len(counted) < 2:
        return list(region)
    return [value * len(counted) - sum(column) for value, column in zip(region, zip(*counted))]


def sketch(seed, nonce, coordinates, vector, clip):
    """The rounded sketch before its noise; all zero for a vector that is not finite."""
    rows = projection(seed, nonce, len(vector), coordinates)
    projected = [total / math.sqrt(coordinates) for total in column_sums(vector, rows, coordinates)]
    length = norm(projected)
    if not math.isfinite(length):
        return [0] * coordinates
    scale = CLIP_STEPS / max(length, clip)
    return [round(value * scale) for value in projected]
