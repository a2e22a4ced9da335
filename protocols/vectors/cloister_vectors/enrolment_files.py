"""Enrolment files and short fingerprints (`enrolment.md`)."""

import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from .hashing import digest
from .signing import public_key, sign

TAG = "cloister/v1/enrolment"
CONTEXT = b"cloister/v1/certificate-possession"
# The number of Ed25519 among the signature schemes of TLS.
ED25519 = 0x0807
ROLES = {"coordinator": 0, "member": 1, "custodian": 2}
LAST_DAY = datetime.datetime(2030, 6, 30)


def certificate(seed):
    """A self-signed certificate, the same each time."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "north")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(datetime.datetime(2026, 1, 1)).not_valid_after(LAST_DAY)
    return builder.sign(key, None)


def length(value):
    """A length as in WIRE-01."""
    return value.to_bytes(8, "little")


def body(fields, signing_key, der):
    """What both keys sign."""
    texts = [fields[name].encode() for name in ("name", "organisation")]
    roles = b"".join(ROLES[role].to_bytes(4, "little") for role in fields["roles"])
    return b"".join([
        fields["version"].to_bytes(4, "little"),
        *(length(len(text)) + text for text in texts),
        length(len(fields["roles"])) + roles,
        signing_key,
        length(len(der)) + der,
    ])


def fingerprint(value):
    """Five groups of five digits of a digest."""
    digits = f"{int.from_bytes(value[:16], 'big') % 10 ** 25:025}"
    return " ".join(digits[at:at + 5] for at in range(0, 25, 5))


class Party:
    """A party's fields and keys, and its file."""

    def __init__(self, signing_seed, certificate_seed, **fields):
        self.fields = {"version": 1, "name": "north", "organisation": "Nord-Klinik Zürich",
                       "roles": ["member", "custodian"], **fields}
        self.signing_seed, self.certificate_seed = signing_seed, certificate_seed
        self.certificate = certificate(certificate_seed)
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()
        self.signing_key = public_key(signing_seed)
        self.der = self.certificate.public_bytes(Encoding.DER)

    def body(self):
        return body(self.fields, self.signing_key, self.der)

    def proof(self):
        """The certificate's key's signature."""
        key = Ed25519PrivateKey.from_private_bytes(self.certificate_seed)
        return key.sign(b" " * 64 + CONTEXT + b"\x00" + self.body())

    def file(self, **changed):
        """The file's text, with some values replaced."""
        values = {
            **self.fields, "signing_key": self.signing_key.hex(), "certificate": self.pem,
            "signature": sign(self.signing_seed, TAG, self.body()).hex(),
            "scheme": ED25519, "proof": self.proof().hex(), **changed,
        }
        roles = ", ".join(f'"{role}"' for role in values["roles"])
        return (
            f'version = {values["version"]}\nname = "{values["name"]}"\norganisation = "{values["organisation"]}"\n'
            f'roles = [{roles}]\nsigning_key = "{values["signing_key"]}"\n'
            f'certificate = """\n{values["certificate"]}"""\nsignature = "{values["signature"]}"\n\n'
            f'[certificate_proof]\nscheme = {values["scheme"]}\nsignature = "{values["proof"]}"\n'
        )


def enrolments():
    """Files that are accepted, with what they say, and files that are refused, with the step that refuses them."""
    seeds = [bytes([number]) * 32 for number in range(1, 5)]
    north = Party(seeds[0], seeds[1])
    other = Party(seeds[2], seeds[3])
    parties = [north, Party(seeds[0], seeds[1], roles=["member"]),
               Party(seeds[2], seeds[3], name="centre", roles=["coordinator"])]
    good = [{
        "file": party.file(),
        "signing_key": party.signing_key.hex(),
        "certificate": hashlib.sha256(party.der).hexdigest(),
        "last_day": LAST_DAY.date().isoformat(),
        "fingerprint": fingerprint(digest("enrolment", party.body())),
    } for party in parties]
    stolen = Party(seeds[0], seeds[3])
    bad = [
        ("version", Party(seeds[0], seeds[1], version=2).file()),
        ("name", Party(seeds[0], seeds[1], name="two  blanks").file()),
        ("name", Party(seeds[0], seeds[1], organisation="").file()),
        ("roles", Party(seeds[0], seeds[1], roles=["custodian", "member"]).file()),
        ("roles", Party(seeds[0], seeds[1], roles=[]).file()),
        ("roles", Party(seeds[0], seeds[1], roles=["coordinator", "member"]).file()),
        ("syntax", north.file(certificate=north.pem + other.pem)),
        ("syntax", north.file() + "more = 1\n"),
        ("signature", north.file(name="south")),
        ("signature", north.file(roles=["member"])),
        ("signature", north.file(signing_key=other.signing_key.hex())),
        ("signature", north.file(certificate=other.pem)),
        ("signature", north.file(signature=other.file().split('signature = "')[1][:128])),
        # Another party's certificate, signed by the thief's own signing key.
        ("certificate", stolen.file(proof=Party(seeds[0], seeds[1]).proof().hex())),
        ("certificate", north.file(scheme=0x0403)),
        ("key", north.file(signing_key="01" + 31 * "00")),
    ]
    keys = [public_key(seed) for seed in seeds[:2]]
    return {
        "good": good,
        "bad": [{"step": step, "file": file} for step, file in bad],
        "governance_keys": [
            {"key": key.hex(), "fingerprint": fingerprint(digest("governance-key", key))} for key in keys
        ],
    }
