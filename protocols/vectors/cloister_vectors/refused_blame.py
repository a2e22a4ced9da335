"""Answers, opened pairs and closings of a refuted block that must be refused (LATE-06 to LATE-09)."""

from . import fixed
from .blame import opening_context
from .blame_round import COMPANION, LIAR
from .canonical import decode, encode
from .dealing import prove_agreement
from .hashing import u32
from .log import Log
from .refusals import flipped
from .ristretto import scalar_of_wide
from .round_one import LEFT_BEFORE_UPLOAD
from .samples import seed, wide
from .schema import BODIES, PAIR_OPENING
from .script import member
from .statements import body_bytes

HONEST, OTHER_HONEST = 1, 3
SAID = ("late-sketches", "blame", "pair-opening", "closing")


def nonce():
    """A nonce for proofs of pairs that nobody should open."""
    return scalar_of_wide(wide("pair that is not in dispute"))


def broken_answers(refusals, number):
    """Step, what it is about, and the statement in place of a member's answer."""
    blame = refusals.first
    right, body = blame.signed_answers[number], blame.answers[number]
    pairs = body["pairs"]
    again = lambda value, signer=number: refusals.signed("BlameAnswer", value, signer)
    first = lambda **fields: again(body | {"pairs": [pairs[0] | fields, *pairs[1:]]})
    yield "mismatch", "another second seal", again(body | {"seal2": seed("another seal")})
    yield "mismatch", "another round", again(body | {"round": 2})
    yield "mismatch", "another epoch", again(body | {"epoch": seed("another epoch")})
    yield "late-sketch", "a block without late sketches", again(body | {"block": 0})
    yield "late-sketch", "a block that there is not", again(body | {"block": 99})
    yield "late-sketch", "a row that there is not", again(body | {"row": 48})
    yield "late-sketch", "a pair too few", again(body | {"pairs": pairs[1:]})
    yield "late-sketch", "a pair twice", again(body | {"pairs": [pairs[0], *pairs]})
    yield "late-sketch", "pairs in another order", again(body | {"pairs": pairs[::-1]})
    yield "late-sketch", "a pair with itself", first(other=number)
    yield "late-sketch", "a pair with an absent member", first(other=LEFT_BEFORE_UPLOAD)
    yield "late-sketch", "a value outside the ring", first(value=2**24)
    yield "late-sketch", "a body that another member signed", again(body, OTHER_HONEST)
    yield "late-sketch", "an absent member", again(body, LEFT_BEFORE_UPLOAD)
    yield "signature", "another signer", right | {"signer": OTHER_HONEST}
    yield "signature", "a damaged signature", right | {"signature": flipped(right["signature"])}


def add_answers(refusals, receiver, number):
    """What a receiver does not take as a member's answer."""
    at = refusals.place(receiver, "BlameAnswer")
    for step, about, statement in broken_answers(refusals, number):
        refusals.add(at, receiver, step, about, {"BlameAnswer": statement})
    blame = refusals.first
    body = blame.answers[number]
    other = body | {"pairs": [pair | {"value": pair["value"] ^ 1} for pair in body["pairs"]]}
    first = {"BlameAnswer": blame.signed_answers[number]}
    second = {"BlameAnswer": refusals.signed("BlameAnswer", other, number)}
    refusals.add(at, receiver, "equivocation", "a second answer about one block", second, before=[first], fork=True)


def add_requests(refusals):
    """LATE-07: a member answers for a sum and sketches that it has, of which a row fails."""
    receiver = member(HONEST)
    request = lambda **fields: {"BlameRequest": {"round": 1, "block": refusals.first.blamed_row.block} | fields}
    early = refusals.place(receiver, "LateSketches")
    refusals.add(early, receiver, "not-awaited", "a blame request before the sketches", request())
    at = refusals.place(receiver, "BlameRequest")
    refusals.add(at, receiver, "not-awaited", "a blame request for another round", request(round=2))
    refusals.add(at, receiver, "not-awaited", "a blame request for a block without late sketches", request(block=0))
    refusals.add(at, receiver, "not-awaited", "a blame request for a block that there is not", request(block=99))


def proven_in(blame, context):
    """The right value of the right pair, with a proof for another context."""
    own, public = blame.dealers[COMPANION], blame.dealers[LIAR].public
    return prove_agreement(own.mask_key.secret, public, context, nonce())[1]


def broken_openings(blame):
    """What an opened pair is refused for, and the opening."""
    right = blame.opening
    of = lambda **fields: right | fields
    yield "another value", of(agreed=blame.dealers[HONEST].public)
    yield "the identity as value", of(agreed=bytes(32))
    yield "a value that is no element", of(agreed=bytes([255]) * 32)
    yield "a damaged proof", of(proof=flipped(right["proof"]))
    yield "the proof of another", of(proof=blame.proven(LIAR, COMPANION, nonce())["proof"])
    yield "one that shows it in another's name", of(member=LIAR, other=COMPANION)
    yield "another pair's name", of(member=HONEST)
    yield "an absent member's pair", of(other=LEFT_BEFORE_UPLOAD)
    yield "a party that is no member", of(member=99)
    plan = blame.plan
    contexts = {
        "epoch": opening_context(plan | {"epoch": seed("another epoch")}, COMPANION, LIAR),
        "round": opening_context(plan | {"round": 2}, COMPANION, LIAR),
        "order of the pair": opening_context(plan, LIAR, COMPANION),
        "pair": opening_context(plan, COMPANION, HONEST),
        "tag": opening_context(plan, COMPANION, LIAR).removeprefix(b"cloister/v1/pair-opening"),
        "byte order": opening_context(plan, COMPANION, LIAR)[:-4] + u32(LIAR)[::-1],
    }
    for what, context in contexts.items():
        yield f"a proof for another {what}", of(proof=proven_in(blame, context))
    yield "a pair of two honest members", blame.proven(HONEST, OTHER_HONEST, nonce())
    yield "a pair with the liar that is not in dispute", blame.proven(HONEST, LIAR, nonce())
    yield "a pair with itself", blame.proven(COMPANION, COMPANION, nonce())


def add_openings(refusals, holder):
    """LATE-08: what a custodian does not take as an opened pair."""
    blame = refusals.first
    message = lambda opening, number=1: {"PairOpened": {"round": number, "opening": opening}}
    early = refusals.place(holder, "BlameAnswer")
    refusals.add(early, holder, "late-sketch", "a pair opened before its answers", message(blame.opening))
    at = refusals.place(holder, "PairOpened")
    for about, opening in broken_openings(blame):
        refusals.add(at, holder, "late-sketch", about, message(opening))
    refusals.add(at, holder, "mismatch", "an opened pair of another round", message(blame.opening, 2))


class Said:
    """What members said of their uploads, with changes, and the closings over it."""

    def __init__(self, refusals):
        self.refusals, self.blame = refusals, refusals.first
        self.sketches, self.answers = dict(self.blame.late), dict(self.blame.signed_answers)
        self.openings = [self.blame.opening]

    def sketch(self, body):
        """With another sketch of the liar."""
        self.sketches[LIAR] = self.refusals.signed("LateSketches", body, LIAR)
        return self

    def answer(self, **fields):
        """With another answer of the liar."""
        body = self.blame.answers[LIAR] | fields
        self.answers[LIAR] = self.refusals.signed("BlameAnswer", body, LIAR)
        return self

    def without(self, *kinds):
        """Without anything of these kinds."""
        for kind in kinds:
            getattr(self, kind).clear()
        return self

    def messages(self):
        """As the coordinator shows it."""
        sketches = [{"LateSketches": statement} for statement in self.sketches.values()]
        answers = [{"BlameAnswer": statement} for statement in self.answers.values()]
        return sketches + answers + [{"PairOpened": {"round": 1, "opening": opening}} for opening in self.openings]

    def tree(self):
        """The root of the log with it (LOG-01)."""
        log = Log()
        log.entries = [entry for entry in self.blame.log.entries if entry["kind"] not in SAID]
        for number, statement in self.sketches.items():
            log.push("late-sketches", number, statement["body"])
        for number, statement in self.answers.items():
            log.push("blame", number, statement["body"])
        for opening in self.openings:
            log.push("pair-opening", opening["member"], encode(PAIR_OPENING, opening))
        return log.root()


def blaming(blame, *members):
    """The closing's list with these members."""
    return [{"block": blame.blamed_row.block, "member": number} for number in members]


def checked(blame, closing, check):
    """A closing that says something else of the refuted sum."""
    block = blame.blamed_row.block
    sums = [entry | {"check": check} if entry["block"] == block else entry for entry in closing["sums"]]
    return closing | {"sums": sums, "blamed": []}


def with_refuted_sum(blame, closing):
    """A closing that applies the refuted sum."""
    block, model = blame.blamed_row.block, list(blame.closed_model)
    model[block] = blame.applied(block)
    return closing | {"parameters": fixed.block_digests(model), "model": fixed.model_digest(model)}


def broken_closings(blame, closing):
    """Step, what it is about, and the closing in place of the right one, over the same evidence."""
    of = lambda *members: closing | {"blamed": blaming(blame, *members)}
    yield "sum", "a closing that names nobody", of()
    yield "sum", "a closing that names the honest companion", of(COMPANION)
    yield "sum", "a closing that names an honest member beside the liar", of(HONEST, LIAR)
    yield "sum", "a closing that names the liar twice", of(LIAR, LIAR)
    yield "closing", "blame that does not ascend", of(LIAR, HONEST)
    yield "closing", "blame for a block that holds", closing | {"blamed": [{"block": 0, "member": LIAR}]}
    for check in ("Checked", "NotSketched"):
        about = f"a refuted sum that is called {check} and applied"
        yield "sum", about, with_refuted_sum(blame, checked(blame, closing, check))
    yield "sum", "a refuted sum that is called Unchecked", checked(blame, closing, "Unchecked")
    yield "sum", "a refuted sum that is applied", with_refuted_sum(blame, closing)
    yield "closing", "a checked sum with blame", checked(blame, closing, "Checked") | {"blamed": closing["blamed"]}


def other_evidence(refusals):
    """What it is about, what members said, and whom the closing names, wrongly."""
    blame = refusals.first
    said, row = lambda: Said(refusals), blame.blamed_row
    yield "no opened pair names the liar", said().without("openings"), [LIAR]
    yield "no answers name the liar", said().without("answers", "openings"), [LIAR]
    another = said().without("openings").answer(row=row.row + 1)
    yield "an answer about another row names the liar", another, [LIAR]
    true = said().without("openings").answer(**row.answer(LIAR))
    yield "an answer that another row follows from names nobody", true, []
    body = decode(BODIES["LateSketches"][1], blame.late[LIAR]["body"])
    large = body | {"sketches": [sketch | {"rows": [2**23 - 1] * 48} for sketch in body["sketches"]]}
    yield "a sketch above its bound names nobody", said().without("answers", "openings").sketch(large), []


def add_closings(refusals, holder):
    """LATE-05 and LATE-09: a closing that does not say what the evidence does."""
    blame = refusals.first
    at = refusals.place(holder, "ProposeClosing")
    original, closing = refusals.message(at)["ProposeClosing"], decode(BODIES["Closing"][1], blame.closing)
    propose = lambda value: {"ProposeClosing": original | {"closing": body_bytes("Closing", value)}}
    for step, about, broken in broken_closings(blame, closing):
        refusals.add(at, holder, step, about, propose(broken), fork=True)
    shorter = closing | {"tree": Said(refusals).without("openings").tree()}
    refusals.add(at, holder, "mismatch", "a log without the opened pair", propose(shorter))
    shown = refusals.place(holder, "LateSketches")
    for about, said, named in other_evidence(refusals):
        broken = propose(closing | {"blamed": blaming(blame, *named), "tree": said.tree()})
        refusals.add(shown, holder, "sum", about, broken, before=said.messages(), fork=True)


def add(refusals):
    """All of them."""
    holder = f"custodian {refusals.first.recomputers(refusals.first.blamed_row.block)[0]}"
    add_requests(refusals)
    add_answers(refusals, holder, HONEST)
    add_answers(refusals, member(COMPANION), LIAR)
    add_openings(refusals, holder)
    add_closings(refusals, holder)
