"""Late sketches, and closings over them, that must be refused (LATE-02, LATE-03, LATE-05)."""

from .canonical import decode
from .refused_reveals import broken_permissions, broken_seeds
from .refusal import step_of
from .refusals import flipped
from .revealing import check_reveal
from .round_one import LEFT_BEFORE_UPLOAD
from .samples import seed
from .schema import BODIES
from .statements import body_bytes

MEMBER, CUSTODIAN = "member 1", "custodian 1"


def add_requests(refusals):
    """LATE-02: a member sketches for seeds that come with a proof, of members of sealed cohorts."""
    first = refusals.first
    at = refusals.place(MEMBER, "Revealed")
    good = refusals.message(at)["Revealed"]
    for about, reveal in [*broken_seeds(first), *broken_permissions(first)]:
        assert step_of(check_reveal, first, reveal) == "reveal", about
        refusals.add(at, MEMBER, "reveal", about, {"Revealed": good | {"reveal": reveal}})
    refusals.add(at, MEMBER, "not-awaited", "a reveal of another round", {"Revealed": good | {"round": 2}})
    at = refusals.place(MEMBER, "LateRequest")
    refusals.add(at, MEMBER, "not-awaited", "another round", {"LateRequest": {"round": 2}})


def broken_sketches(refusals):
    """Step, what it is about, and the statement in place of the first member's."""
    late = refusals.first
    body = decode(BODIES["LateSketches"][1], late.late[1]["body"])
    [sketch] = body["sketches"]
    of = lambda **fields: body | {"sketches": [sketch | fields]}
    again = lambda value, signer=1: refusals.signed("LateSketches", value, signer)
    yield "mismatch", "another second seal", again(body | {"seal2": seed("another seal")})
    yield "mismatch", "another round", again(body | {"round": 2})
    yield "mismatch", "another epoch", again(body | {"epoch": seed("another epoch")})
    yield "late-sketch", "a row too few", again(of(rows=sketch["rows"][1:]))
    yield "late-sketch", "a row outside the ring", again(of(rows=[2**24, *sketch["rows"][1:]]))
    yield "late-sketch", "a block without late sketches", again(of(block=0))
    yield "late-sketch", "one block twice", again(body | {"sketches": [sketch, sketch]})
    yield "late-sketch", "an absent member", again(body, LEFT_BEFORE_UPLOAD)
    yield "signature", "a damaged signature", late.late[1] | {"signature": flipped(late.late[1]["signature"])}
    yield "signature", "another signer", late.late[1] | {"signer": 2}


def add_sketches(refusals):
    """What a custodian does not take as late sketches."""
    at = refusals.place(CUSTODIAN, "LateSketches")
    for step, about, statement in broken_sketches(refusals):
        refusals.add(at, CUSTODIAN, step, about, {"LateSketches": statement})
    late = refusals.first
    body = decode(BODIES["LateSketches"][1], late.late[1]["body"])
    [sketch] = body["sketches"]
    other = body | {"sketches": [sketch | {"rows": [row ^ 1 for row in sketch["rows"]]}]}
    first = {"LateSketches": late.late[1]}
    second = {"LateSketches": refusals.signed("LateSketches", other, 1)}
    refusals.add(at, CUSTODIAN, "equivocation", "a second sketch of one member", second, before=[first], fork=True)


def add_closings(refusals):
    """LATE-03 and LATE-05: a closing over late sketches that the custodian does not have, or that say otherwise."""
    late, holder = refusals.first, refusals.recomputing
    at = refusals.place(holder, "LateSketches")
    proposed = refusals.place(holder, "ProposeClosing")
    original = refusals.message(proposed)["ProposeClosing"]
    refusals.add(at, holder, "mismatch", "no late sketches", {"ProposeClosing": original}, fork=True)
    closing = decode(BODIES["Closing"][1], late.closing)
    [block] = late.sketched()
    for check in ("NotSketched", "Unchecked", "Refuted"):
        sums = [entry | {"check": check} if entry["block"] == block else entry for entry in closing["sums"]]
        broken = original | {"closing": body_bytes("Closing", closing | {"sums": sums})}
        about = f"a sum that holds is called {check}"
        refusals.add(proposed, holder, "sum", about, {"ProposeClosing": broken}, fork=True)
    broken = original | {"closing": body_bytes("Closing", closing | {"blamed": [{"block": block, "member": 1}]})}
    refusals.add(proposed, holder, "closing", "blame without a refuted sum", {"ProposeClosing": broken})


def add(refusals):
    """All of them."""
    [block] = refusals.first.sketched()
    refusals.recomputing = f"custodian {refusals.first.recomputers(block)[0]}"
    add_requests(refusals)
    add_sketches(refusals)
    add_closings(refusals)
