"""Signed bodies, votes and certificates (ROUND-05, ROUND-06)."""

from .canonical import decode, encode
from .hashing import body_digest
from .refusal import Refused, require
from .schema import BODIES
from .signing import sign, verify


def body_bytes(kind, value):
    """The canonical body of a statement."""
    return encode(BODIES[kind][1], value)


def signed(kind, value, signer, seed):
    """A statement with its signature."""
    body = body_bytes(kind, value)
    return {"signer": signer, "body": body, "signature": sign(seed, BODIES[kind][0], body)}


def vote(kind, body, custodian, seed):
    """A custodian's vote in a certificate."""
    return {"custodian": custodian, "signature": sign(seed, BODIES[kind][0], body)}


def vote_message(kind, body, seed):
    """A custodian's vote as it sends it."""
    return {"Vote": {"body": body_digest(body), "signature": sign(seed, BODIES[kind][0], body)}}


def certificate(kind, body, seeds, voters):
    """A certificate of these voters."""
    return {"body": body, "votes": [vote(kind, body, voter, seeds[voter]) for voter in voters]}


def check_certificate(kind, value, custodian_keys, quorum):
    """ROUND-05; returns the body."""
    tag, schema = BODIES[kind]
    voters = [entry["custodian"] for entry in value["votes"]]
    require(voters == sorted(set(voters)) and len(voters) >= quorum, "quorum")
    for entry in value["votes"]:
        require(entry["custodian"] in custodian_keys, "role")
        verify(custodian_keys[entry["custodian"]], tag, value["body"], entry["signature"])
    try:
        return decode(schema, value["body"])
    except Refused:
        raise Refused("encoding") from None
