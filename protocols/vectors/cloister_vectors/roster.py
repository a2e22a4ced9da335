"""The consortium of the vectors: its file, its keys, and the rules that it obeys (CONS-01 to CONS-06)."""

import tomllib

from .floors import floors
from .hashing import digest
from .refusal import Refused, require
from .samples import seed
from .signing import public_key, sign, verify

FILE_TAG = "cloister/v1/consortium-file"
COORDINATOR = 0
BOTH, MEMBER = ["member", "custodian"], ["member"]


def key_seed(party):
    """The seed of a party's signing key; the coordinator's under its number."""
    return seed(f"signing key of party {party}")


def certificate_of(party):
    """What the file lists as the digest of a party's certificate."""
    return seed(f"certificate of party {party}")


GOVERNANCE = seed("governance key")


def party(number, organisation, roles, weight):
    """A party's entry."""
    return {
        "id": number, "name": f"hospital {number}", "organisation": f"organisation {organisation}",
        "roles": roles, "signing_key": public_key(key_seed(number)).hex(),
        "certificate": certificate_of(number).hex(), "weight": weight,
    }


def _lines(entry):
    quote = lambda value: "[" + ", ".join(f'"{item}"' for item in value) + "]"
    shown = {str: lambda v: f'"{v}"', int: str, list: quote}
    return [f"{name} = {shown[type(value)](value)}" for name, value in entry.items()]


def file_text(parties, epoch=1, start=None):
    """The file as TOML; `start` says what a later epoch begins on."""
    coordinator = {
        "name": "coordinator", "signing_key": public_key(key_seed(COORDINATOR)).hex(),
        "certificate": certificate_of(COORDINATOR).hex(),
    }
    lines = ['name = "vectors"', f"epoch = {epoch}", "", "[coordinator]", *_lines(coordinator)]
    if start is not None:
        digests = {name: value for name, value in start.items() if name != "ending"}
        lines += ["", "[start]", *_lines(digests)]
        if "ending" in start:
            lines += ["", "[start.ending]", *_lines(start["ending"])]
    for entry in parties:
        lines += ["", "[[party]]", *_lines(entry)]
    return "\n".join(lines) + "\n"


def sign_file(text):
    """The governance key's signature."""
    return sign(GOVERNANCE, FILE_TAG, text.encode())


def _check_unique(coordinator, parties):
    numbers = [entry["id"] for entry in parties]
    require(len(set(numbers)) == len(numbers), "duplicate")
    for field in ("name", "signing_key", "certificate"):
        values = [coordinator[field]] + [entry[field] for entry in parties]
        require(len(set(values)) == len(values), "duplicate")


def _check_start(file):
    """CONS-06: only a later epoch begins on another; an ending has its round and its digest."""
    start = file.get("start")
    require(file["epoch"] >= 1 and (file["epoch"] == 1) == (start is None), "start")
    if start is not None:
        digests = [start.get("epoch"), start.get("model")]
        if "ending" in start:
            ending = start["ending"]
            require(isinstance(ending, dict) and set(ending) == {"round", "digest"}, "syntax")
            digests.append(ending["digest"])
        require(all(isinstance(value, str) and len(value) == 64 for value in digests), "syntax")


def _check_custodians(parties):
    """FLOOR-06."""
    organisations = [entry["organisation"] for entry in parties if "custodian" in entry["roles"]]
    require(len(set(organisations)) == len(organisations), "custodian-organisation")


def accept(text, signature, governance):
    """A consortium whose file is signed and obeys the rules."""
    verify(governance, FILE_TAG, text.encode(), signature)
    try:
        file = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise Refused("syntax") from None
    for entry in file["party"]:
        require(entry["id"] != COORDINATOR, "reserved-id")
        require(entry["roles"], "no-role")
        require(1 <= entry["weight"] <= 15, "weight")
    _check_unique(file["coordinator"], file["party"])
    _check_start(file)
    _check_custodians(file["party"])
    return Roster(text, file["party"])


class Roster:
    """Who takes part, and the floors."""

    def __init__(self, text, parties):
        self.text, self.epoch = text, digest("epoch", text.encode())
        self.parties = {entry["id"]: entry for entry in parties}
        self.organisation_of = {entry["id"]: entry["organisation"] for entry in parties}
        self.weight_of = {entry["id"]: entry["weight"] for entry in parties}
        self.members = self.with_role("member")
        self.custodians = self.with_role("custodian")
        try:
            self.floors = floors(self.organisations(self.members), len(self.custodians))
        except Refused:
            raise Refused("floors") from None

    def with_role(self, role):
        """The numbers of the parties with a role, ascending."""
        return sorted(number for number, entry in self.parties.items() if role in entry["roles"])

    def organisations(self, members):
        """How many organisations stand behind members."""
        return len({self.organisation_of[member] for member in members})

    def keys_of(self, parties):
        """Public signing keys by number."""
        return {number: bytes.fromhex(self.parties[number]["signing_key"]) for number in parties}


def the_roster():
    """Five organisations, six members (the last two of one organisation), five custodians."""
    weights = [1, 2, 3, 1, 15, 2]
    entries = [party(n, min(n, 5), BOTH if n <= 5 else MEMBER, weights[n - 1]) for n in range(1, 7)]
    text = file_text(entries)
    return accept(text, sign_file(text), public_key(GOVERNANCE))
