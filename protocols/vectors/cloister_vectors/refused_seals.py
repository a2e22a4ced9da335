"""Second seals, closings, endings and models that must be refused (ROUND-01 to ROUND-05, ROUND-14 to ROUND-25)."""

from .canonical import decode
from .framing import chunk_frame
from .hashing import body_digest, digest
from .refusals import flipped
from .round_one import LATER_SEALERS
from .samples import seed
from .schema import BODIES
from .statements import body_bytes, certificate

RECEIVER = "custodian 1"


def broken_repeats(first):
    """ROUND-14: lists of repeated blocks that a second seal may not have, whatever was opened before."""
    return [
        ("a void block called repeated", [first.void[0]]), ("a block that there is not called repeated", [99]),
        ("repeated blocks not ascending", [2, 0]), ("a repeated block twice", [2, 2]),
    ]


def broken_second_seals(first, seal):
    """Second seals that do not follow the first: step, what is wrong, seal."""
    listed = seal["uploaded"]
    yield "mismatch", "another epoch", seal | {"epoch": seed("another epoch")}
    yield "mismatch", "another round", seal | {"round": 2}
    yield "mismatch", "another first seal", seal | {"seal1": seed("another seal")}
    yield "mismatch", "another log", seal | {"tree": seed("another log")}
    yield "seal", "not ascending", seal | {"uploaded": listed[::-1]}
    yield "seal", "a member twice", seal | {"uploaded": [listed[0], *listed]}
    yield "seal", "a member that did not announce", seal | {"uploaded": [*listed, listed[0] | {"member": 7}]}
    yield "below-floor", "three organisations", seal | {"uploaded": [*listed[:2], *listed[3:]]}
    yield "below-floor", "a block below the floor", seal | {"void": []}
    yield "seal", "a block above the floor called void", seal | {"void": [*first.void, 2]}
    for about, listed_blocks in broken_repeats(first):
        yield "seal", about, seal | {"repeated": listed_blocks}
    yield "seal", "another root than the member signed", seal | {
        "uploaded": [listed[0] | {"root": seed("another root")}, *listed[1:]]
    }


def broken_uploads(refusals):
    """Lists of uploads beside the right second seal: step, what is wrong, list."""
    first, uploads = refusals.first, refusals.first.uploads
    body = decode(BODIES["Upload"][1], uploads[0]["body"])
    again = lambda **fields: [refusals.signed("Upload", body | fields, 1), *uploads[1:]]
    yield "seal", "an upload too few", uploads[1:]
    yield "seal", "another root", again(root=seed("another root"))
    yield "mismatch", "an upload for another first seal", again(seal1=seed("another seal"))
    yield "mismatch", "an upload for another round", again(round=2)
    damaged = uploads[0] | {"signature": flipped(uploads[0]["signature"])}
    yield "signature", "a damaged signature", [damaged, *uploads[1:]]
    yield "role", "signed by the coordinator", [refusals.signed("Upload", body, 0), *uploads[1:]]
    assert first.roots[1] == body["root"]


def add_second_seals(refusals):
    """ROUND-14."""
    first = refusals.first
    at = refusals.place(RECEIVER, "ProposeSeal2")
    seal = decode(BODIES["Seal2"][1], first.seal2)
    for step, about, broken in broken_second_seals(first, seal):
        message = {"seal": body_bytes("Seal2", broken), "uploads": first.uploads}
        refusals.add(at, RECEIVER, step, about, {"ProposeSeal2": message})
    for step, about, uploads in broken_uploads(refusals):
        message = {"seal": first.seal2, "uploads": uploads}
        refusals.add(at, RECEIVER, step, about, {"ProposeSeal2": message})


def add_order(refusals):
    """ROUND-03: after its vote for the second seal a custodian signs neither an abort nor the first seal."""
    first, at = refusals.first, refusals.place(RECEIVER, "Sealed2")
    fields = {"plan": first.plan_digest, "model": first.plan["model"], "reason": "TooFewUploaded"}
    abort = body_bytes("Abort", first.names(**fields))
    refusals.add(at, RECEIVER, "equivocation", "an abort beside a second seal", {"ProposeAbort": {"abort": abort}})
    seal = refusals.message(refusals.place(RECEIVER, "ProposeSeal1"))
    refusals.add(at, RECEIVER, "order", "the first seal again", seal)
    request = {"SeedSharesRequest": {"round": 1, "dealer": 1}}
    refusals.add(at, RECEIVER, "not-awaited", "shares before the second seal", request)


def add_second_certificates(refusals):
    """ROUND-01: nothing is revealed for a certificate that is none, or that has another upload of ours."""
    first = refusals.first
    seal = decode(BODIES["Seal2"][1], first.seal2)
    listed = [seal["uploaded"][0] | {"root": seed("another root")}, *seal["uploaded"][1:]]
    at = refusals.place("member 1", "Sealed2")
    for step, about, fields in [
        ("mismatch", "another root of ours", {"uploaded": listed}), ("below-floor", "nothing void", {"void": []})
    ]:
        made = certificate("Seal2", body_bytes("Seal2", seal | fields), first.seeds, LATER_SEALERS)
        refusals.add(at, "member 1", step, about, {"Sealed2": {"certificate": made}})
    short = first.certificate2 | {"votes": first.certificate2["votes"][1:]}
    for receiver in ("member 1", RECEIVER):
        refusals.add(at, receiver, "quorum", "a vote too few", {"Sealed2": {"certificate": short}})
    at = refusals.place(RECEIVER, "SeedSharesRequest")
    for about, dealer in [("a member that did not upload", 4), ("nobody", 9)]:
        refusals.add(at, RECEIVER, "not-awaited", about, {"SeedSharesRequest": {"round": 1, "dealer": dealer}})


def of_model(closing):
    """A closing whose model is that of its parameters."""
    return closing | {"model": digest("model", b"".join(closing["parameters"]))}


def with_parameters(closing, block, value):
    """A closing with one block's digest changed, and the model's accordingly."""
    listed = closing["parameters"]
    return of_model(closing | {"parameters": listed[:block] + [value] + listed[block + 1:]})


def broken_closings(first, closing):
    """Closings that do not follow the second seal: step, what is wrong, closing."""
    sums = closing["sums"]
    yield "mismatch", "another epoch", closing | {"epoch": seed("another epoch")}
    yield "mismatch", "another round", closing | {"round": 2}
    yield "mismatch", "another plan", closing | {"plan": seed("another plan")}
    yield "mismatch", "another second seal", closing | {"seal2": seed("another seal")}
    yield "mismatch", "another log", closing | {"tree": seed("another log")}
    yield "sum", "a void block", closing | {"sums": [sums[0], sums[0] | {"block": first.void[0]}, *sums[1:]]}
    yield "sum", "another weight", closing | {"sums": [sums[0] | {"weight": sums[0]["weight"] + 1}, *sums[1:]]}
    yield "sum", "not ascending", closing | {"sums": sums[::-1]}
    yield "sum", "a block twice", closing | {"sums": [sums[0], *sums]}
    yield "closing", "a member blamed for a sum that holds", closing | {"blamed": [{"block": sums[0]["block"], "member": 1}]}
    yield "sum", "a valid block left out", closing | {"sums": sums[1:]}
    yield "sum", "a block without a sum changes", with_parameters(closing, first.void[0], seed("parameters"))
    yield "mismatch", "a model of other parameters", closing | {"model": seed("another model")}
    yield "mismatch", "a block's parameters too few", of_model(closing | {"parameters": closing["parameters"][:-1]})


def add_closings(refusals):
    """ROUND-21, ROUND-22, ROUND-25."""
    first = refusals.first
    at = refusals.place(RECEIVER, "ProposeClosing")
    original = refusals.message(at)["ProposeClosing"]
    closing = decode(BODIES["Closing"][1], first.closing)
    for step, about, broken in broken_closings(first, closing):
        message = original | {"closing": body_bytes("Closing", broken)}
        refusals.add(at, RECEIVER, step, about, {"ProposeClosing": message})
    add_recomputed(refusals, at, original, closing)
    add_masked_blocks(refusals, at, original)


def add_recomputed(refusals, at, original, closing):
    """ROUND-22: what a custodian finds when it recomputes."""
    block, sums = original["recompute"][0], closing["sums"]
    propose = lambda broken: {"ProposeClosing": original | {"closing": body_bytes("Closing", broken)}}
    other = closing | {"sums": [
        entry | {"sum": seed("another sum")} if entry["block"] == block else entry for entry in sums
    ]}
    refusals.add(at, RECEIVER, "sum", "another sum", propose(other), fork=True)
    other = closing | {"sums": [
        entry | {"check": "Checked"} if entry["block"] == block else entry for entry in sums
    ]}
    refusals.add(at, RECEIVER, "sum", "a check that was not made", propose(other), fork=True)
    other = with_parameters(closing, block, seed("parameters"))
    refusals.add(at, RECEIVER, "sum", "other parameters after the sum", propose(other), fork=True)
    part = {"block": block, "index": 0, "bytes": bytes(4 * len(refusals.first.model[block]))}
    refusals.add(
        at, RECEIVER, "sum", "other parameters before", {"ProposeClosing": original}, fork=True,
        before=[{"OldParameters": part}],
    )
    long = {"OldParameters": part | {"bytes": part["bytes"] + bytes(1)}}
    refusals.add(at, RECEIVER, "chunk", "parameters that are too long", long, fork=True)


def add_masked_blocks(refusals, at, original):
    """ROUND-22: masked blocks that are not under the root that their member signed."""
    first, block = refusals.first, original["recompute"][0]
    good = {"MaskedBlock": first.masked_block(1, block)}
    path = good["MaskedBlock"]["path"]
    wrong = {"MaskedBlock": good["MaskedBlock"] | {"path": [seed("a node"), *path[1:]]}}
    refusals.add(at, RECEIVER, "upload-root", "another path", {"ProposeClosing": original}, [wrong], [good])
    packed = first.packed[1][block]
    bent = chunk_frame(1, 1, block, 0, flipped(packed))
    right = chunk_frame(1, 1, block, 0, packed)
    refusals.add(at, RECEIVER, "upload-root", "another block", {"ProposeClosing": original}, [bent], [right])
    for about, member, number in [("a void block", 2, first.void[0]), ("a member that left", 4, 0)]:
        message = {"MaskedBlock": {"round": 1, "member": member, "block": number, "path": []}}
        refusals.add(at, RECEIVER, "sum", about, message)
    for about, frame in [
        ("a chunk that was not announced", chunk_frame(1, 4, 0, 0, packed)),
        ("a chunk of another round", chunk_frame(2, 1, block, 0, packed)),
        ("a chunk that is not the next", chunk_frame(1, 1, block, 1, packed)),
        ("a chunk that is too short", chunk_frame(1, 1, block, 0, packed[:-1])),
    ]:
        refusals.add(at, RECEIVER, "chunk", about, frame, after=[right])


def closed(first, body, sealers=tuple(LATER_SEALERS)):
    """An ending with a closing's body, recomputed and signed by these custodians."""
    made = certificate("Closing", body, first.seeds, list(sealers))
    return {"certificate": made, "recomputed": first.recomputed}


def recomputed(refusals, signer, **fields):
    """A statement that every opened block of the closing was recomputed."""
    first = refusals.first
    value = first.names(closing=body_digest(first.closing), blocks=list(first.summed)) | fields
    return refusals.signed("Recomputed", value, signer)


def broken_endings(refusals):
    """Endings that are none: step, what is wrong, ending."""
    first = refusals.first
    good = first.ending["Closed"]
    made = lambda *statements: good | {"recomputed": list(statements)}
    again = lambda **fields: recomputed(refusals, 1, **fields)
    yield "quorum", "a vote too few", closed(first, first.closing, LATER_SEALERS[1:])
    yield "quorum", "nothing recomputed", made()
    yield "quorum", "recomputed by one", made(again())
    yield "quorum", "recomputed twice by one", made(again(), again())
    yield "quorum", "recomputed of another closing", made(again(), recomputed(refusals, 2, closing=seed("closing")))
    yield "quorum", "a block too few", made(again(), recomputed(refusals, 2, blocks=[0]))
    yield "role", "recomputed by no custodian", made(again(), recomputed(refusals, 6))
    yield "mismatch", "recomputed in another round", made(again(), recomputed(refusals, 2, round=2))
    yield "mismatch", "recomputed in another epoch", made(again(), recomputed(refusals, 2, epoch=seed("epoch")))
    damaged = again()
    yield "signature", "a damaged statement", made(damaged | {"signature": flipped(damaged["signature"])}, again())


def certified_lies(refusals):
    """Endings that a quorum and recomputing custodians signed, and that do not fit what was sent: what, ending, model."""
    first = refusals.first
    closing = decode(BODIES["Closing"][1], first.closing)
    sums = [closing["sums"][0] | {"sum": seed("another sum")}, *closing["sums"][1:]]
    for about, broken in [
        ("another model", closing | {"model": seed("another model")}),
        ("sums left out", closing | {"sums": closing["sums"][:1]}),
        ("another sum than was sent", closing | {"sums": sums}),
        ("another plan", closing | {"plan": seed("another plan")}),
    ]:
        body = body_bytes("Closing", broken)
        both = [recomputed(refusals, custodian, closing=body_digest(body)) for custodian in (1, 2)]
        yield about, closed(first, body) | {"recomputed": both}, broken["model"]


def add_endings(refusals):
    """ROUND-22 and ROUND-05, at a member that has the sums."""
    first, receiver = refusals.first, "member 1"
    at = refusals.place(receiver, "Ended")
    for step, about, ending in broken_endings(refusals):
        refusals.add(at, receiver, step, about, {"Ended": {"Closed": ending}})
    missing = [{"block": block, "first": 0} for block in range(len(first.model))]
    for about, ending, model in certified_lies(refusals):
        # ROUND-05, ROUND-23: a certificate counts, and a member without the model that it names asks for it.
        request = {"ModelRequest": {"model": model, "missing": missing}}
        refusals.answer(at, receiver, about, {"Ended": {"Closed": ending}}, request)
    packed = first.sums[0]
    right = chunk_frame(1, 0, 0, 0, packed)
    for about, frame in [
        ("a sum that is too long", chunk_frame(1, 0, 0, 0, packed + b"\x00")),
        ("a sum of no block", chunk_frame(1, 0, 6, 0, packed)),
    ]:
        refusals.add(at, receiver, "chunk", about, frame, after=[right])


def add_second_round(refusals, second):
    """After the round: keys for what ended, models that do not fit, aborts of other plans."""
    at = refusals.place(RECEIVER, "KeyRequest", 1)
    ended = {"KeyRequest": {"round": 1}}
    refusals.add(at, RECEIVER, "not-awaited", "a round that ended", ended, answer=(b"", {"Ahead": {"round": 1}}))
    at = refusals.place("member 6", "ModelPart")
    good = refusals.message(at)["ModelPart"]
    for about, fields in [("too long", {"bytes": good["bytes"] * 2}), ("no block", {"block": 6})]:
        refusals.add(at, "member 6", "chunk", about, {"ModelPart": good | fields})
    at = refusals.place("member 6", "ModelTable")
    refusals.add(at, "member 6", "not-awaited", "a part before the table", {"ModelPart": good})
    table = refusals.message(at)["ModelTable"]
    longer, *others = table["blocks"]
    for step, about, blocks in [
        ("mismatch", "a block of another digest", [longer | {"digest": seed("block")}, *others]),
        ("mismatch", "a block too few", others),
        ("model-shape", "a block of another length", [longer | {"length": longer["length"] + 1}, *others]),
    ]:
        refusals.add(at, "member 6", step, f"a model's table with {about}", {"ModelTable": table | {"blocks": blocks}})
    at = refusals.place(RECEIVER, "ProposeAbort")
    body = second.names | {"plan": second.plan_digest, "model": second.model, "reason": "TooFewAnnounced"}
    for field, value in [("epoch", seed("epoch")), ("round", 1), ("plan", seed("plan")), ("model", seed("model"))]:
        abort = body_bytes("Abort", body | {field: value})
        refusals.add(at, RECEIVER, "mismatch", f"another {field}", {"ProposeAbort": {"abort": abort}})
    at = refusals.place("member 1", "Ended", 1)
    short = second.ending["Aborted"] | {"votes": second.ending["Aborted"]["votes"][1:]}
    refusals.add(at, "member 1", "quorum", "a vote too few", {"Ended": {"Aborted": short}})


def add(refusals, second):
    """Everything from the second seal on."""
    add_second_seals(refusals)
    add_order(refusals)
    add_second_certificates(refusals)
    add_closings(refusals)
    add_endings(refusals)
    add_second_round(refusals, second)
