"""Frames and chunks (the wire page)."""

from .canonical import decode, encode
from .hashing import u32_little
from .refusal import require
from .schema import MESSAGE

VERSION, MESSAGE_CLASS, CHUNK_CLASS = 1, 0, 1
CHUNK_BYTES = 4 << 20
HEADER = 20


def message_frame(message):
    """A frame with one message."""
    return bytes([VERSION, MESSAGE_CLASS]) + encode(MESSAGE, message)


def chunk_frame(round_number, owner, block, index, data):
    """A frame with one chunk."""
    header = round_number.to_bytes(8, "little") + u32_little(owner) + u32_little(block) + u32_little(index)
    return bytes([VERSION, CHUNK_CLASS]) + header + data


def chunk_frames(round_number, owner, block, vector):
    """The frames of a whole vector: of a member's masked block, or, with owner 0, of an opened sum."""
    starts = range(0, len(vector), CHUNK_BYTES)
    return [
        chunk_frame(round_number, owner, block, index, vector[start:start + CHUNK_BYTES])
        for index, start in enumerate(starts)
    ]


def decode_frame(frame):
    """Either `{"message": …}` or a chunk's fields."""
    require(frame[:1] == bytes([VERSION]), "version")
    require(frame[1:2] in (b"\x00", b"\x01"), "class")
    rest = frame[2:]
    if frame[1] == MESSAGE_CLASS:
        return {"message": decode(MESSAGE, rest)}
    require(HEADER < len(rest) <= HEADER + CHUNK_BYTES, "chunk-length")
    number = lambda start, end: int.from_bytes(rest[start:end], "little")
    fields = {"round": number(0, 8), "owner": number(8, 12), "block": number(12, 16), "index": number(16, 20)}
    return fields | {"bytes": rest[HEADER:]}
