"""Sketches: signs from ChaCha20 and the projection (ALIGN-01)."""

import math

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from .fixed import norm

CLIP_STEPS = 8192


def stream(seed, nonce, length):
    """The ChaCha20 key stream with a 64-bit counter from 0 and a 64-bit nonce, both little-endian."""
    position = bytes(8) + nonce.to_bytes(8, "little")
    return Cipher(algorithms.ChaCha20(seed, position), None).encryptor().update(bytes(length))


def signs(seed, nonce, inputs, coordinates):
    """For each input coordinate the signs of the projection, +1 or -1."""
    words = -(-coordinates // 64)
    data = stream(seed, nonce, 8 * words * inputs)
    rows = []
    for index in range(inputs):
        row = data[8 * words * index:8 * words * (index + 1)]
        word = [int.from_bytes(row[8 * at:8 * at + 8], "little") for at in range(words)]
        rows.append([1 if word[j // 64] >> (j % 64) & 1 else -1 for j in range(coordinates)])
    return rows


def sketch(seed, nonce, coordinates, vector, clip):
    """The rounded sketch before its noise; all zero for a vector that is not finite."""
    sums = [0.0] * coordinates
    for value, row in zip(vector, signs(seed, nonce, len(vector), coordinates)):
        for j, sign in enumerate(row):
            sums[j] += sign * value
    projected = [total / math.sqrt(coordinates) for total in sums]
    length = norm(projected)
    if not math.isfinite(length):
        return [0] * coordinates
    scale = CLIP_STEPS / max(length, clip)
    return [round(value * scale) for value in projected]
