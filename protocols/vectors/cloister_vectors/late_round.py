"""A round with late sketches: one member leaves before it uploads, and what the others say makes up the sum."""

from . import masking
from .hashing import body_digest
from .late import SKETCHED_LENGTH, late_bound, may_be_sketched, projection_seed, rows
from .planning import settings
from .round_one import RoundOne
from .script import custodian, member
from .statements import signed


class LateRound(RoundOne):
    """The first round of the vectors with late sketches, in which nobody leaves before it reveals."""

    left_before_reveal, closed = None, {}

    def planned(self):
        """A shared block that is long enough, and the plan's word that sketches are required."""
        chosen = settings() | {"late_sketches": "Required"}
        blocks = [
            row | {"shape": row["shape"] | {"length": SKETCHED_LENGTH}} if row["shape"]["kind"] == "Shared" else row
            for row in chosen["blocks"]
        ]
        return chosen | {"blocks": blocks}

    def sketched(self):
        """The numbers of the summed blocks that are sketched."""
        return [b for b in self.summed if may_be_sketched(self.settings["blocks"][b]["shape"])]

    def check_uploads(self):
        """Step 6a: the coordinator shows the seeds, and every member of a sketched block sketches its upload."""
        super().check_uploads()
        self.late = {}
        sketchers = sorted({m for block in self.sketched() for m in self.summed[block][0]})
        receivers = [member(m) for m in sketchers]
        self.show_reveals(receivers, [reveal for reveal in self.reveals if "MaskKey" not in reveal["secret"]])
        self.script.ask(receivers, {"LateRequest": {"round": self.number}})
        seal2 = body_digest(self.seal2)
        for number in sketchers:
            blocks = [block for block in self.sketched() if number in self.summed[block][0]]
            sketches = [{"block": block, "rows": self.said(number, block)} for block in blocks]
            body = self.names(seal2=seal2, sketches=sketches)
            self.late[number] = signed("LateSketches", body, number, self.seeds[number])
            self.tell(number, {"LateSketches": self.late[number]})
            self.log.push("late-sketches", number, self.late[number]["body"])
        for block in self.sketched():
            self.checks[block] = self.judge(block)

    def projection(self, block):
        """LATE-02: the seed of a block's rows."""
        seeds = [self.dealers[m].seed(block) for m in self.summed[block][0]]
        return projection_seed(body_digest(self.seal2), block, seeds)

    def weight(self, number, block):
        """A member's weight in a block."""
        return next(entry["weight"] for entry in self.cohorts[block]["members"] if entry["member"] == number)

    def rows_of(self, number, block):
        """A member's late sketch of its own upload."""
        words = [self.weight(number, block) * value for value in self.contributions[number].integers[block]]
        return rows(self.projection(block), words, self.settings["ring"])

    def said(self, number, block):
        """The late sketch that a member signs: here its upload's."""
        return self.rows_of(number, block)

    def tell(self, number, message):
        """What a member says of its upload."""
        self.script.tell(member(number), message)

    def failing_row(self, block):
        """LATE-03: the first row in which the signed sketches do not make up the sum's."""
        ring, here = self.settings["ring"], self.summed[block][0]
        total = [sum(column) % 2**ring for column in zip(*(self.said(m, block) for m in here))]
        opened = rows(self.projection(block), self.open_block(block), ring)
        return next((row for row, pair in enumerate(zip(total, opened)) if pair[0] != pair[1]), None)

    def check_norms(self, block):
        """LATE-04: no signed sketch is too large."""
        for m in self.summed[block][0]:
            norm = sum(masking.lift(row, self.settings["ring"]) ** 2 for row in self.said(m, block))
            assert norm <= late_bound(self.settings["blocks"][block], self.weight(m, block))

    def judge(self, block):
        """What the late sketches say of a sum."""
        self.check_norms(block)
        assert self.failing_row(block) is None
        return "Checked"

    def evidence(self):
        """Everything that members said of their uploads, as the coordinator shows it."""
        return [{"LateSketches": statement} for statement in self.late.values()]

    def show_evidence(self, holder):
        """A custodian gets what members said of their uploads before it judges it."""
        for message in self.evidence():
            self.script.ask([custodian(holder)], message)
