"""Invitations, and what is exchanged with them (`enrolment.md`)."""

import hashlib

from .enrolment_files import Party, length
from .hashing import digest

PREFIX = "cloister-invitation-1"
ROLES = {"member": ["member"], "custodian": ["custodian"], "member+custodian": ["member", "custodian"]}
REFUSALS = ["Unknown", "Expired", "Used", "File", "Certificate", "Roles", "NameTaken", "KeyTaken", "Unavailable"]


def checksum(body):
    """The last part, over everything before its comma."""
    return digest("invitation", body.encode())[:5].hex()


def line(address, certificate, roles, expires, token):
    """An invitation."""
    body = ",".join([PREFIX, address, certificate, roles, str(expires), token])
    return f"{body},{checksum(body)}"


def respelled(text, old, new):
    """The same with a part replaced, and the checksum that fits."""
    body = text.rsplit(",", 1)[0].replace(old, new)
    return f"{body},{checksum(body)}"


def text(value):
    """A text as in WIRE-01."""
    encoded = value.encode()
    return length(len(encoded)) + encoded


def number(value, size):
    """An integer as in WIRE-01."""
    return value.to_bytes(size, "little")


def request(token, enrolment, version=1):
    """A request's bytes."""
    return number(version, 4) + token + text(enrolment)


def refusal(name, detail=None):
    """An answer that refuses."""
    encoded = number(2, 4) + number(REFUSALS.index(name), 4)
    return encoded + (text(detail) if detail is not None else b"")


def invitations():
    """Texts, requests and answers that are accepted, with what they say, and texts that are refused."""
    certificate = hashlib.sha256(b"coordinator").hexdigest()
    token = bytes(range(16))
    good = [
        ("cloister.example.org:443", "member+custodian", 1_790_000_000),
        ("[2001:db8::1]:8443", "member", 0),
        ("10.0.0.1:443", "custodian", 4_000_000_000),
    ]
    lines = [line(address, certificate, roles, expires, token.hex()) for address, roles, expires in good]
    first = lines[0]
    bad = [
        ("prefix", first.replace(PREFIX, "cloister-invitation-2")),
        ("prefix", first[len(PREFIX) + 1:]),
        ("checksum", first[:-1]),
        ("checksum", first.replace("example", "exemple")),
        ("checksum", first.replace(",member+custodian,", ",member,")),
        ("part", respelled(first, token.hex(), token.hex().upper())),
        ("part", respelled(first, ",1790000000,", ",01790000000,")),
        ("part", respelled(first, ",member+custodian,", ",custodian+member,")),
        ("part", respelled(first, ",member+custodian,", ",coordinator,")),
        ("part", respelled(first, token.hex(), token.hex()[:30])),
        ("part", respelled(first, certificate, certificate[:62])),
        ("part", respelled(first, ",1790000000,", ",1790000000,more,")),
        ("address", respelled(first, "cloister.example.org:443", "")),
    ]
    party = Party(bytes([1]) * 32, bytes([2]) * 32)
    kept = digest("enrolment", party.body())
    answers = [
        ("kept", number(0, 4) + kept + number(1_790_000_000, 8) + text("Four Hospitals")),
        ("listed", number(1, 4) + bytes([5]) * 32 + text("a file\n") + length(64) + bytes([6]) * 64),
        *(("refused", refusal(name)) for name in ["Unknown", "Expired", "Used", "Certificate", "KeyTaken", "Unavailable"]),
        ("refused", refusal("File", "why")),
        ("refused", refusal("Roles", "member")),
        ("refused", refusal("NameTaken", "Nord-Klinik Zürich")),
    ]
    return {
        "good": [{
            "text": made, "address": address, "certificate": certificate, "roles": ROLES[roles], "expires": expires,
            "token_digest": digest("invitation-token", token).hex(),
        } for made, (address, roles, expires) in zip(lines, good)],
        "wrapped": [{"text": first, "wrapped": f" {first[:40]}\r\n{first[40:90]} {first[90:]}\n"}],
        "bad": [{"step": step, "text": made} for step, made in bad],
        "requests": [{
            "bytes": request(token, party.file()).hex(), "enrolment": party.file(),
            "token_digest": digest("invitation-token", token).hex(),
        }],
        "bad_requests": [
            request(token, party.file(), version=2).hex(),
            (request(token, party.file()) + b"\x00").hex(),
            request(token, party.file())[:-1].hex(),
        ],
        "answers": [{"kind": kind, "bytes": made.hex()} for kind, made in answers],
    }
