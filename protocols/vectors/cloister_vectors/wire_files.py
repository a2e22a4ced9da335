"""Vectors of the encoding and of frames."""

from . import framing
from .canonical import Bare, Bytes, Digest, Integer, Many, Optional, Structure, Text, Truth, Variants, decode, encode
from .crypto_files import bad
from .hashing import digest
from .planning import withheld_settings
from .samples import seed
from .schema import BODIES, MESSAGE, TYPES

TEXTS = ["", "a", "Zurückgewiesen: κ > 3 ✓", "\x00\n\"\\"]


def sample(schema, number):
    """A value of a schema: small, larger and largest numbers, longer lists, other variants as `number` grows."""
    label = seed(f"sample {number}")
    match schema:
        case Integer():
            bits = 8 * schema.size - schema.signed
            return [-(2**bits) if schema.signed else 0, 1, 2**bits - 1, 2**bits // 3][number % 4]
        case Truth():
            return number % 2 == 1
        case Digest() | Bare():
            return label[:schema.size]
        case Bytes():
            return (label * 2)[:3 * number if schema.size is None else schema.size]
        case Text():
            return TEXTS[number % 4]
        case Many():
            return [sample(schema.item, number + at) for at in range(number)]
        case Optional():
            return None if number % 2 == 0 else sample(schema.item, number)
        case Structure():
            return {name: sample(field, number) for name, field in schema.fields.items()}
        case Variants():
            return variant(schema, number % len(schema.names), number)


def variant(schema, index, number):
    """A value of one variant."""
    name = schema.names[index]
    payload = schema.variants[name]
    return {name: sample(payload, number)} if payload else name


def codec_case(name, value):
    """A value with its encoding."""
    schema = TYPES[name]
    data = encode(schema, value)
    assert decode(schema, data) == value
    return {"type": name, "value": schema.to_json(value), "encoded": data.hex()}


def codec():
    """WIRE-01: every signed body and every message."""
    cases = [codec_case(name, sample(TYPES[name], number)) for name in BODIES for number in range(4)]
    for index in range(len(MESSAGE.names)):
        cases += [codec_case("Message", variant(MESSAGE, index, number)) for number in (0, 1, 2)]
    cases += [codec_case(name, value) for name, value in scored_bodies()]
    bodies = [
        {"type": name, "tag": tag, "body": encode(schema, sample(schema, 1)).hex(),
         "digest": digest("body", encode(schema, sample(schema, 1))).hex()}
        for name, (tag, schema) in BODIES.items()
    ]
    return {"cases": cases, "bodies": bodies, "bad": codec_bad()}


def scored_announcement(*scores):
    """An announcement with these scores in place of sketches."""
    sketches = [{"block": block, "values": {"Score": score}, "tokens": 0} for block, score in enumerate(scores)]
    return sample(TYPES["Announcement"], 1) | {"sketches": sketches}


def scored_bodies():
    """Bodies with scores in place of sketches, and with a block of regions."""
    yield "Announcement", scored_announcement(5000, -1, 0, 2**31 - 1, -(2**31))
    yield "Announcement", scored_announcement(None, None)
    yield "RoundPlan", sample(TYPES["RoundPlan"], 1) | {"settings": withheld_settings()}


def spliced(data, at, new):
    """Data with some bytes replaced."""
    return data[:at] + new + data[at + len(new):]


def codec_bad():
    """WIRE-02 and WIRE-03."""
    announcement = encode(TYPES["Announcement"], sample(TYPES["Announcement"], 1))
    manifest = encode(TYPES["Manifest"], sample(TYPES["Manifest"], 1))
    plan = encode(TYPES["RoundPlan"], sample(TYPES["RoundPlan"], 1))
    refusal = encode(MESSAGE, {"Refusal": {"round": 1, "role": "member", "reason": "ab"}})
    vote = encode(MESSAGE, variant(MESSAGE, MESSAGE.names.index("Vote"), 1))
    message_plan = encode(MESSAGE, variant(MESSAGE, MESSAGE.names.index("Plan"), 0))
    lengths = [2**64 - 1, 2**63, 2**32, 3]
    proof_at = 32 + 8 + 32 + 8 + 32
    budget_at = proof_at + 8 + 64 + 8 + 32 + 8 + 64
    assert announcement[budget_at] == 1
    cases = [
        ("Announcement", announcement + b"\x00", "trailing"), ("Announcement", announcement * 2, "trailing"),
        ("Announcement", announcement[:-1], "malformed"), ("Announcement", b"", "malformed"),
        ("Announcement", spliced(announcement, proof_at, (63).to_bytes(8, "little")), "malformed"),
        ("Announcement", spliced(announcement, budget_at, b"\x02"), "malformed"),
        ("Manifest", manifest[:-5] + b"\x02" + manifest[-4:], "malformed"),
        ("Manifest", manifest[:-5] + b"\x00" + manifest[-4:], "trailing"),
        ("RoundPlan", plan[:-30], "malformed"), ("RoundPlan", plan + bytes(8), "trailing"),
        ("Message", len(MESSAGE.names).to_bytes(4, "little"), "malformed"), ("Message", b"\xff" * 4, "malformed"),
        ("Message", refusal[:-2] + b"\xff\xfe", "malformed"), ("Message", refusal + b"c", "trailing"),
        ("Message", message_plan[:-1] + b"\x02", "malformed"),
        ("Message", message_plan[:-1] + b"\x01", "malformed"),
        ("Message", vote[:36] + (65).to_bytes(8, "little") + vote[44:] + b"\x00", "malformed"),
        ("Message", vote[:36] + (63).to_bytes(8, "little") + vote[44:-1], "malformed"),
        ("Abort", encode(TYPES["Abort"], sample(TYPES["Abort"], 1))[:-4] + b"\x04\x00\x00\x00", "malformed"),
    ]
    scored = encode(TYPES["Announcement"], scored_announcement(None))
    assert scored[-9:] == b"\x02\x00\x00\x00" + bytes(5)
    cases += [("Announcement", spliced(scored, len(scored) - 5, b"\x02"), "malformed")]
    cases += [("Announcement", spliced(scored, len(scored) - 9, b"\x03"), "malformed")]
    cases += [("Announcement", spliced(scored, len(scored) - 5, b"\x01"), "malformed")]
    cases += [("Message", spliced(refusal, 16, length.to_bytes(8, "little")), "malformed") for length in lengths]
    return [
        bad(step, decode, (TYPES[name], data), type=name, encoded=data.hex()) for name, data, step in cases
    ]


def frames():
    """Frames of messages and chunks, and vectors cut into chunks."""
    request = {"KeyRequest": {"round": 3}}
    assert framing.message_frame(request).hex() == "0100" + "00000000" + "0300000000000000"
    messages = [request, {"Refusal": {"round": 2**64 - 1, "role": "custodian", "reason": TEXTS[2]}}]
    chunks = [(7, 4, 2, 1, b"\x01\x02\x03"), (2**64 - 1, 2**32 - 1, 0, 2**32 - 1, b"\xff")]
    cases = [
        {"message": MESSAGE.to_json(message), "frame": framing.message_frame(message).hex()}
        for message in messages
    ]
    for round_number, owner, block, index, data in chunks:
        fields = {"round": round_number, "owner": owner, "block": block, "index": index, "bytes": data.hex()}
        frame = framing.chunk_frame(round_number, owner, block, index, data)
        assert framing.decode_frame(frame) == fields | {"bytes": data}
        cases.append({"chunk": fields, "frame": frame.hex()})
    return {"cases": cases, "cut": [cut(size) for size in sizes()], "bad": frames_bad()}


def sizes():
    """Lengths of vectors around the border of chunks."""
    whole = framing.CHUNK_BYTES
    return [0, 1, whole - 1, whole, whole + 1, 2 * whole + 5]


def cut(size):
    """A vector of bytes 0, 1, … 250, 0, … cut into frames, each given by its header and digest."""
    vector = (bytes(range(251)) * (size // 251 + 1))[:size]
    pieces = framing.chunk_frames(9, 3, 1, vector)
    listed = [{"header": p[:22].hex(), "length": len(p), "digest": digest("sum", p).hex()} for p in pieces]
    return {"length": size, "frames": listed}


def frames_bad():
    """Frames that are none."""
    message = framing.message_frame({"KeyRequest": {"round": 3}})
    chunk = framing.chunk_frame(1, 1, 1, 0, b"\x01")
    cases = [
        (b"", "version"), (b"\x02" + message[1:], "version"), (b"\x00" + message[1:], "version"),
        (b"\x01", "class"), (b"\x01\x02" + message[2:], "class"), (b"\x01\xff", "class"),
        (chunk[:-1], "chunk-length"), (chunk[:2], "chunk-length"), (chunk[:10], "chunk-length"),
        (message + b"\x00", "trailing"), (message[:-1], "malformed"), (message[:2], "malformed"),
    ]
    return [bad(step, framing.decode_frame, (frame,), frame=frame.hex()) for frame, step in cases]
