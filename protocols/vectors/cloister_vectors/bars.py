"""Evidence that a member dealt badly, and the rounds that it bars the member from (ROUND-24, ROUND-33)."""

from . import dealing, sharing
from .canonical import decode
from .hashing import digest
from .refusal import Refused, require
from .schema import BODIES
from .signing import verify

BARRED_ROUNDS = 16
CONTENT_BYTES = 64


def bars(shown, number):
    """Whether evidence of one round bars from another of the same epoch."""
    return shown + 1 <= number <= shown + BARRED_ROUNDS


def is_good(body, custodian, content):
    """ROUND-11: whether a letter's content is the two right shares."""
    try:
        require(len(content) == CONTENT_BYTES, "share")
        sharing.check_share(body["mask_key"]["commitments"], custodian, content[:32])
        sharing.check_share(body["seed_key"]["commitments"], custodian, content[32:])
    except Refused:
        return False
    return True


def is_proven(letter, context):
    """ROUND-24: whether the letter's ephemeral key was made for this context."""
    try:
        dealing.verify_ephemeral(letter, context)
    except Refused:
        return False
    return True


def content_of(letter, agreed, recipient, context):
    """The content, or nothing."""
    try:
        return dealing.decrypt_letter(letter, agreed, recipient, context)
    except Refused:
        return None


def check_shown(where, body, row, evidence):
    """ROUND-24: refuses what does not show that an announced letter is bad."""
    context = dealing.letter_context(where, evidence["custodian"], body["plan"])
    letter, agreed = evidence["letter"], evidence["agreed"]
    if not is_proven(letter, context):
        return
    try:
        dealing.verify_agreement(row["recipient"], letter[:32], agreed, context, evidence["proof"])
    except Refused:
        raise Refused("letter-fault") from None
    content = content_of(letter, agreed, row["recipient"], context)
    require(content is None or not is_good(body, evidence["custodian"], content), "letter-fault")


def check_evidence(roster, evidence):
    """ROUND-33: who dealt badly and in which round, with nothing but the consortium file."""
    tag, schema = BODIES["Announcement"]
    signed = evidence["announcement"]
    require(signed["signer"] in roster.members, "role")
    verify(roster.keys_of([signed["signer"]])[signed["signer"]], tag, signed["body"], signed["signature"])
    body = decode(schema, signed["body"])
    require(body["epoch"] == roster.epoch, "mismatch")
    rows = [row for row in body["dealings"] if row["custodian"] == evidence["custodian"]]
    require(len(rows) == 1, "letter-fault")
    require(digest("letter", evidence["letter"]) == rows[0]["letter"], "letter-fault")
    where = dealing.place(body["epoch"], body["round"], signed["signer"])
    check_shown(where, body, rows[0], evidence)
    return signed["signer"], body["round"]
