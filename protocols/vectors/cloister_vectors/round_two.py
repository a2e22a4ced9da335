"""The round after: a member is barred, one that missed the closing catches up, and the round is aborted."""

from . import bars, fixed
from .bad_dealings import BadDealings
from .hashing import body_digest
from .planning import check_plan
from .ristretto import BASE, scalar_of_wide
from .round_one import LATER_SEALERS, LEFT_BEFORE_REVEAL, LEFT_BEFORE_UPLOAD, receiving_draw
from .roster import COORDINATOR
from .samples import wide
from .script import custodian, member
from .statements import body_bytes, certificate, signed, vote_message


BARRED, WITNESS = LEFT_BEFORE_UPLOAD, 2


def bad_dealing(first):
    """Evidence from an announcement that a member signed in the first round beside the one that it sent."""
    dealt = BadDealings(first, BARRED, WITNESS)
    letter = dict(dealt.letters())["another share of the seed key"]
    return dealt.evidence(letter, wide("evidence of the second round"))


class RoundTwo:
    """Continues the script of the first round."""

    def __init__(self, first):
        self.first, self.script, self.seeds = first, first.script, first.seeds
        self.members = [1, 2, 3, 5, LEFT_BEFORE_REVEAL]
        self.names = {"epoch": first.roster.epoch, "round": 2}
        self.keys_and_plan()
        self.catch_up()
        self.abort()

    def keys_and_plan(self):
        """Steps 0 and 1."""
        self.script.ask([custodian(c) for c in LATER_SEALERS], {"KeyRequest": {"round": 2}})
        keys = {c: (scalar_of_wide(receiving_draw(c, 2)) * BASE).encode() for c in LATER_SEALERS}
        vouched = [signed("ReceivingKey", self.names | {"key": keys[c]}, c, self.seeds[c]) for c in keys]
        for statement in vouched:
            self.script.tell(custodian(statement["signer"]), {"ReceivingKey": statement})
        plan = self.names | {
            "previous": body_digest(self.first.closing),
            "model": fixed.model_digest(self.first.closed_model),
            "parameters": fixed.block_digests(self.first.closed_model),
            "custodians": [{"custodian": c, "key": key} for c, key in keys.items()],
            "barred": [BARRED], "settings": self.first.settings,
        }
        self.plan, self.vouched, self.evidence = plan, vouched, bad_dealing(self.first)
        check_plan(plan, self.first.roster, vouched, [bars.check_evidence(self.first.roster, self.evidence)])
        statement = signed("RoundPlan", plan, COORDINATOR, self.seeds[COORDINATOR])
        self.plan_digest = body_digest(statement["body"])
        message = {"plan": statement, "receiving_keys": vouched, "previous": self.first.ending}
        receivers = [member(m) for m in self.members] + [custodian(c) for c in LATER_SEALERS]
        self.script.ask(receivers, {"BadDealing": self.evidence})
        self.script.ask(receivers, {"Plan": message})

    def catch_up(self):
        """ROUND-23, ROUND-42: the member that left before the reveal asks for the model."""
        behind = member(LEFT_BEFORE_REVEAL)
        model = fixed.model_digest(self.first.closed_model)
        blocks = [{"length": len(values), "digest": named} for values, named in zip(
            self.first.closed_model, fixed.block_digests(self.first.closed_model), strict=True,
        )]
        missing = [{"block": block, "first": 0} for block in range(len(blocks))]
        self.script.tell(behind, {"ModelRequest": {"model": model, "missing": missing}})
        self.script.ask([behind], {"ModelTable": {"model": model, "blocks": blocks}})
        for block, values in enumerate(self.first.closed_model):
            part = {"block": block, "index": 0, "bytes": fixed.singles_to_bytes(values)}
            self.script.ask([behind], {"ModelPart": part})

    def abort(self):
        """Nobody announces."""
        self.model = fixed.model_digest(self.first.closed_model)
        fields = {"plan": self.plan_digest, "model": self.model, "reason": "TooFewAnnounced"}
        body = body_bytes("Abort", self.names | fields)
        self.script.ask([custodian(c) for c in LATER_SEALERS], {"ProposeAbort": {"abort": body}})
        for voter in LATER_SEALERS:
            self.script.tell(custodian(voter), vote_message("Abort", body, self.seeds[voter]))
        self.ending = {"Aborted": certificate("Abort", body, self.seeds, LATER_SEALERS)}
        receivers = [member(m) for m in self.members] + [custodian(c) for c in LATER_SEALERS]
        self.script.ask(receivers, {"Ended": self.ending})
