"""A round in which a member lies about what it uploaded, puts it on an honest companion, and is named."""

from . import dealing
from .blame import BlamedRow, disputes, opening_context, sign_of
from .canonical import encode
from .framing import chunk_frames
from .late_round import LateRound
from .masking import pack
from .ristretto import scalar_of_wide
from .roster import COORDINATOR
from .samples import wide
from .schema import PAIR_OPENING
from .script import member
from .statements import signed

LIAR, COMPANION = 6, 2
# What the liar adds to rows of its late sketch; it stays within its bound.
LIE, LIED_ROWS = 1234, (5, 30)
# A member that is asked for its answer twice.
ASKED_TWICE = 3


class BlameRound(LateRound):
    """The round with late sketches, in which one member's sketch is not of what it uploaded."""

    def said(self, number, block):
        """The liar signs other rows than its upload's."""
        rows = super().said(number, block)
        if number == LIAR:
            rows = [(row + LIE) % 2**self.settings["ring"] if at in LIED_ROWS else row for at, row in enumerate(rows)]
        return rows

    def tell(self, number, message):
        """What the liar says of its upload no honest program would say."""
        self.script.tell(member(number), message, lie=number == LIAR)

    def judge(self, block):
        """The sum is refuted, and the liar is named."""
        self.check_norms(block)
        self.blamed_row = BlamedRow(self, block, self.failing_row(block))
        assert self.blamed_row.row == LIED_ROWS[0]
        self.ask_for_answers()
        self.open_pair()
        self.blamed = [{"block": block, "member": m} for m in self.blamed_row.liars(self.answers, self.opened)]
        assert self.blamed == [{"block": block, "member": LIAR}]
        return "Refuted"

    def ask_for_answers(self):
        """LATE-06 and LATE-07: the members get the sum and all sketches, and answer."""
        receivers, block = [member(m) for m in self.blamed_row.here], self.blamed_row.block
        request = {"BlameRequest": {"round": self.number, "block": block}}
        for frame in chunk_frames(self.number, COORDINATOR, block, pack(self.open_block(block), self.settings["ring"])):
            self.script.send("coordinator", receivers, frame)
        for statement in self.late.values():
            self.script.ask(receivers, {"LateSketches": statement})
        self.script.ask(receivers, request)
        self.answers = {m: self.answer(m) for m in self.blamed_row.here}
        self.signed_answers = {m: signed("BlameAnswer", body, m, self.seeds[m]) for m, body in self.answers.items()}
        for number, statement in self.signed_answers.items():
            self.tell(number, {"BlameAnswer": statement})
            self.log.push("blame", number, statement["body"])
        self.script.ask([member(ASKED_TWICE)], request)
        self.tell(ASKED_TWICE, {"BlameAnswer": self.signed_answers[ASKED_TWICE]})

    def answer(self, number):
        """A member's answer; the liar's makes the row of its own late sketch come out."""
        answer = self.blamed_row.answer(number)
        if number == LIAR:
            short = sign_of(LIAR, COMPANION) * (self.blamed_row.follows(LIAR, answer["pairs"]) - self.said_row(LIAR))
            answer["pairs"] = [
                pair | {"value": (pair["value"] + short) % 2**self.blamed_row.ring} if pair["other"] == COMPANION else pair
                for pair in answer["pairs"]
            ]
        assert self.blamed_row.follows(number, answer["pairs"]) == self.said_row(number)
        return answer

    def said_row(self, number):
        """The row in question as a member signed it."""
        return self.said(number, self.blamed_row.block)[self.blamed_row.row]

    def open_pair(self):
        """LATE-08: both get the other's answer, and the honest one shows what they agree on."""
        assert disputes(self.answers) == [(COMPANION, LIAR)] and self.blamed_row.liars(self.answers, {}) == []
        self.script.ask([member(LIAR)], {"BlameAnswer": self.signed_answers[COMPANION]})
        self.script.ask([member(COMPANION)], {"BlameAnswer": self.signed_answers[LIAR]})
        self.pair_draws = {COMPANION: wide(f"pair of {COMPANION} and {LIAR}")}
        self.opening = self.proven(COMPANION, LIAR, scalar_of_wide(self.pair_draws[COMPANION]))
        self.opened = {frozenset((COMPANION, LIAR)): self.opening["agreed"]}
        self.tell(COMPANION, {"PairOpened": {"round": self.number, "opening": self.opening}})
        self.log.push("pair-opening", COMPANION, encode(PAIR_OPENING, self.opening))

    def proven(self, number, other, nonce):
        """What a pair agreed on, with the proof of one of it."""
        own, public, context = self.dealers[number], self.dealers[other].public, opening_context(self.plan, number, other)
        agreed, proof = dealing.prove_agreement(own.mask_key.secret, public, context, nonce)
        dealing.verify_agreement(own.public, public, agreed, context, proof)
        return {"member": number, "other": other, "agreed": agreed, "proof": proof}

    def evidence(self):
        """With the answers and the opened pair."""
        answers = [{"BlameAnswer": statement} for statement in self.signed_answers.values()]
        return super().evidence() + answers + [{"PairOpened": {"round": self.number, "opening": self.opening}}]
