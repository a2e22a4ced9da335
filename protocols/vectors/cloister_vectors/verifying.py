"""Checks of values that the Rust code made with randomness of its own."""

import struct

from . import bars, dealing, sharing, sketching
from .canonical import decode
from .fixed import quantise
from .framing import decode_frame
from .hashing import digest, root, verify_path
from .masking import expand, pair_key, self_key
from .number_files import words_hex
from .ristretto import decode_scalar, scalar_bytes, scalar_of_wide
from .schema import BODIES, TYPES
from .seeds import RoundSeeds
from .signing import verify as verify_signature


def unhex(entry, *names):
    """Fields of an entry as bytes."""
    return [bytes.fromhex(entry[name]) for name in names]


def singles_of(text):
    """Single-precision numbers from hex."""
    data = bytes.fromhex(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def knowledge(entry):
    """MASK-02."""
    dealing.verify_knowledge(*unhex(entry, "element", "context", "proof"))


def letter(entry):
    """MASK-12."""
    sealed, secret, context, content = unhex(entry, "letter", "secret", "context", "content")
    assert dealing.open_letter(sealed, decode_scalar(secret), context) == content


def shares(entry):
    """MASK-08, MASK-11: every share is right, and any run of enough of them opens the secret."""
    listed = [(holder, bytes.fromhex(share)) for holder, share in entry["shares"]]
    commitments, threshold = [bytes.fromhex(element) for element in entry["commitments"]], entry["threshold"]
    sharing.check_commitments(commitments, threshold)
    for holder, share in listed:
        sharing.check_share(commitments, holder, share)
    for start in range(len(listed)):
        secret = sharing.combine(threshold, listed[start:] + listed[:start])
        assert scalar_bytes(secret).hex() == entry["secret"]
        assert dealing.public_of(secret) == commitments[0]


def seeds(entry):
    """MASK-14, MASK-15: the seeds of one secret, with their proof."""
    epoch, plan, secret, proof = unhex(entry, "epoch", "plan", "secret", "proof")
    round_seeds, scalar = RoundSeeds(epoch, entry["round"], plan), decode_scalar(secret)
    listed = [{"block": row["block"], "seed": bytes.fromhex(row["seed"])} for row in entry["seeds"]]
    assert all(round_seeds.element(scalar, row["block"]) == row["seed"] for row in listed)
    revealed = {"seeds": listed, "proof": proof}
    round_seeds.verify(dealing.public_of(scalar), entry["dealer"], entry["by"], revealed)


def signature(entry):
    """WIRE-04."""
    public, message, made = unhex(entry, "public", "message", "signature")
    verify_signature(public, entry["tag"], message, made)


def path(entry):
    """RFC 6962 paths."""
    leaves = [bytes.fromhex(leaf) for leaf in entry["leaves"]]
    siblings = [bytes.fromhex(node) for node in entry["path"]]
    assert root(leaves).hex() == entry["root"]
    verify_path(root(leaves), leaves[entry["index"]], entry["index"], len(leaves), siblings)


def mask(entry):
    """MASK-03 to MASK-05."""
    common = {k: bytes.fromhex(v) if isinstance(v, str) else v for k, v in entry["context"].items()}
    seed, secret, public = unhex(entry, "seed", "secret", "public")
    agreed = dealing.agree(decode_scalar(secret), public)
    keys = [self_key(common, entry["one"], seed), pair_key(common, entry["one"], entry["other"], agreed)]
    digests = [digest("sum", words_hex(expand(key, common["length"]))).hex() for key in keys]
    assert digests == [entry["self"], entry["pair"]]


def sketch(entry):
    """ALIGN-01."""
    nonce = 0 if entry["block"] is None else 1 + entry["block"]
    vector, clip = singles_of(entry["vector"]), struct.unpack("<d", bytes.fromhex(entry["clip"]))[0]
    made = sketching.sketch(bytes.fromhex(entry["seed"]), nonce, entry["coordinates"], vector, clip)
    assert made == entry["sketch"]


def quantised(entry):
    """MASK-07."""
    made = quantise(entry["scale"], entry["router"], singles_of(entry["update"]))
    assert made == (entry["integers"], entry["clipped"])


def message(entry):
    """WIRE-01: decoding checks that encoding gives the same bytes again."""
    value = decode_frame(bytes.fromhex(entry["frame"]))["message"]
    assert TYPES["Message"].to_json(value) == entry["message"]


class Dealt:
    """An announcement with its letters, opened by every custodian."""

    def __init__(self, entry):
        signed = decode_frame(bytes.fromhex(entry["announcement"]))["message"]["Announcement"]
        tag, schema = BODIES["Announcement"]
        verify_signature(bytes.fromhex(entry["signing_key"]), tag, signed["body"], signed["signature"])
        self.body, self.member = decode(schema, signed["body"]), signed["signer"]
        self.place = dealing.place(self.body["epoch"], self.body["round"], self.member)
        self.letters = [decode_frame(bytes.fromhex(frame))["message"]["Letter"] for frame in entry["letters"]]
        self.receiving = {int(c): scalar_of_wide(bytes.fromhex(wide)) for c, wide in entry["receiving"].items()}

    def opened(self, sealed):
        """A custodian's two shares, checked against the announced digest and commitments."""
        custodian = sealed["custodian"]
        context = dealing.letter_context(self.place, custodian, self.body["plan"])
        content = dealing.open_letter(sealed["sealed"], self.receiving[custodian], context)
        row = next(row for row in self.body["dealings"] if row["custodian"] == custodian)
        assert digest("letter", sealed["sealed"]) == row["letter"]
        assert row["recipient"] == dealing.public_of(self.receiving[custodian])
        assert bars.is_good(self.body, custodian, content)
        return custodian, content

    def check_key(self, name, kind, threshold, shares):
        """MASK-02, MASK-08: the proof of a key, its commitments, and that the shares open it."""
        announced = self.body[name]
        sharing.check_commitments(announced["commitments"], threshold)
        key = announced["commitments"][0]
        dealing.verify_knowledge(key, dealing.key_context(self.place, kind), announced["proof"])
        assert dealing.public_of(sharing.combine(threshold, shares)) == key

    def check(self, threshold):
        """ROUND-10, ROUND-11: both keys, and every letter."""
        held = dict(map(self.opened, self.letters))
        assert sorted(held) == [row["custodian"] for row in self.body["dealings"]]
        mask, of_seeds = ([(c, content[part]) for c, content in held.items()] for part in (slice(32), slice(32, 64)))
        self.check_key("mask_key", dealing.MASK_KEY, threshold, mask)
        self.check_key("seed_key", dealing.SEED_KEY, threshold, of_seeds)


def dealt(entry):
    """A whole dealing."""
    Dealt(entry).check(entry["threshold"])


CHECKS = {
    "knowledge": knowledge, "letters": letter, "shares": shares, "signatures": signature, "paths": path,
    "seeds": seeds, "masks": mask, "sketches": sketch, "quantised": quantised, "messages": message, "dealings": dealt,
}


def verify(values):
    """Checks every entry; says how many of each kind held. A kind that is unknown or absent is an error."""
    assert values.keys() == CHECKS.keys(), (values.keys(), CHECKS.keys())
    for name, entries in values.items():
        assert entries, f"{name} has no entries"
        for entry in entries:
            CHECKS[name](entry)
    return {name: len(entries) for name, entries in values.items()}
