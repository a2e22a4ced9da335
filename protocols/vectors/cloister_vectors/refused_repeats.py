"""Second seals under which a block would be opened again from the same parameters over others (ROUND-30)."""

from .canonical import decode
from .log import Log
from .round_one import LATER_SEALERS
from .schema import BODIES
from .statements import body_bytes, certificate

MEMBER, CUSTODIAN = "member 1", "custodian 1"
LEFT_OUT = 6


class SealWithout:
    """The second seal of a round, had one member not uploaded."""

    def __init__(self, second):
        self.second, self.seal = second, decode(BODIES["Seal2"][1], second.seal2)
        self.uploads = [upload for upload in second.uploads if upload["signer"] != LEFT_OUT]
        self.log = Log()
        self.log.entries = second.log.entries[:self.first_upload()]
        for upload in self.uploads:
            self.log.push("upload", upload["signer"], upload["body"])

    def first_upload(self):
        """Where the log's uploads begin."""
        return next(at for at, entry in enumerate(self.second.log.entries) if entry["kind"] == "upload")

    def body(self, repeated):
        """The seal with these blocks listed as repeated."""
        listed = [entry for entry in self.seal["uploaded"] if entry["member"] != LEFT_OUT]
        return body_bytes("Seal2", self.seal | {"uploaded": listed, "repeated": repeated, "tree": self.log.root()})

    def proposal(self, repeated):
        """As the coordinator proposes it."""
        return {"ProposeSeal2": {"seal": self.body(repeated), "uploads": self.uploads}}

    def sealed(self, repeated):
        """As members get it."""
        return {"Sealed2": {"certificate": certificate("Seal2", self.body(repeated), self.second.seeds, LATER_SEALERS)}}


def add(refusals, second):
    """Blocks that were opened over one member more."""
    without, blocks = SealWithout(second), list(second.summed)
    at = refusals.place(CUSTODIAN, "ProposeSeal2", 1)
    sealed_at = refusals.place(MEMBER, "Sealed2", 1)
    for about, listed in [("none listed", []), ("one too few listed", blocks[1:]), ("one listed", blocks[:1])]:
        refusals.add(at, CUSTODIAN, "repeated", f"repeated blocks, {about}", without.proposal(listed))
        refusals.add(sealed_at, MEMBER, "repeated", f"repeated blocks, {about}", without.sealed(listed))
    fields = {"plan": second.plan_digest, "model": second.plan["model"], "reason": "TooFewUploaded"}
    abort = {"ProposeAbort": {"abort": body_bytes("Abort", second.names(**fields))}}
    refusals.add(
        at, CUSTODIAN, "equivocation", "an abort beside a second seal that lists all repeated blocks", abort,
        before=[without.proposal(blocks)], fork=True,
    )
