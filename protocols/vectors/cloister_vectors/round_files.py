"""Vectors of whole rounds, and of the consortium file."""

from . import fixed
from .canonical import encode
from .crypto_files import bad
from .ristretto import scalar_bytes
from .roster import BOTH, COORDINATOR, GOVERNANCE, MEMBER, accept, file_text, party, sign_file, the_roster
from .round_one import receiving_draw
from .samples import seed
from .schema import REVEAL
from .signing import public_key


def model_json(model):
    """A model's blocks as hex."""
    return [fixed.singles_to_bytes(block).hex() for block in model]


def consortium_case(roster, key):
    """A file that is accepted, and what follows from it."""
    good = {"text": roster.text, "signature": sign_file(roster.text).hex(), "governance": key.hex()}
    good |= {"epoch": roster.epoch.hex(), "members": roster.members, "custodians": roster.custodians}
    return good | {"floors": roster.floors, "organisations": roster.organisations(roster.members)}


# CONS-06: what a later epoch begins on, without and with an ending.
START = {"epoch": seed("epoch before").hex(), "model": seed("model before").hex()}
ENDING = {"round": 7, "digest": seed("ending before").hex()}
ENDED = START | {"ending": ENDING}


def consortium():
    """CONS-01 to CONS-06 and FLOOR-05."""
    key, parties = public_key(GOVERNANCE), [party(n, n, BOTH, 1) for n in range(1, 6)]
    later = [file_text(parties, epoch, start) for epoch, start in [(2, START), (3, ENDED)]]
    rosters = [the_roster(), *(accept(text, sign_file(text), key) for text in later)]
    return {"cases": [consortium_case(roster, key) for roster in rosters], "bad": consortium_bad(key)}


def bad_starts(parties):
    """CONS-06: step, and file."""
    without = lambda name: {field: value for field, value in ENDED.items() if field != name}
    return [
        ("start", file_text(parties, 2)), ("start", file_text(parties, 1, START)), ("start", file_text(parties, 0, START)),
        ("start", file_text(parties, 0)), ("syntax", file_text(parties, 2, START | {"ending": {"round": 7}})),
        ("syntax", file_text(parties, 2, START | {"ending": {"digest": ENDING["digest"]}})),
        ("syntax", file_text(parties, 2, without("model"))),
        ("syntax", file_text(parties, 2, without("epoch"))), ("syntax", file_text(parties, 2, START | {"model": "00"})),
    ]


def consortium_bad(key):
    """Files that are refused, with their signatures."""
    parties = [party(n, n, BOTH, 1) for n in range(1, 6)]
    changed = lambda index, **fields: parties[:index] + [parties[index] | fields] + parties[index + 1:]
    text = file_text(parties)
    duplicates = [
        {"id": 1}, {"name": "hospital 1"}, {"name": "coordinator"},
        {"signing_key": parties[0]["signing_key"]}, {"certificate": parties[0]["certificate"]},
    ]
    files = [("duplicate", changed(2, **fields)) for fields in duplicates] + [
        ("reserved-id", changed(0, id=0)), ("no-role", changed(4, roles=[])),
        ("weight", changed(4, weight=0)), ("weight", changed(4, weight=16)),
        ("floors", parties[:2]),
        ("floors", [*parties[:2], *(party(n, n, MEMBER, 1) for n in range(3, 6))]),
        ("floors", [party(n, min(n, 2), MEMBER, 1) for n in range(1, 6)]),
        ("custodian-organisation", changed(4, organisation="organisation 1")),
    ]
    texts = [(step, file_text(listed), None) for step, listed in files]
    texts += [(step, file, None) for step, file in bad_starts(parties)]
    texts += [("syntax", text + "[[party\n", None), ("signature", text + "\n", sign_file(text))]
    texts += [("signature", text.replace("weight = 1", "weight = 9", 1), sign_file(text))]
    texts += [("signature", "[[party\n", bytes(64))]
    cases = []
    for step, file, signature in texts:
        signature = signature or sign_file(file)
        fields = {"text": file, "signature": signature.hex(), "governance": key.hex()}
        cases.append(bad(step, accept, (file, signature, key), **fields))
    other = public_key(seed("another governance key"))
    fields = {"text": text, "signature": sign_file(text).hex(), "governance": other.hex()}
    return [*cases, bad("signature", accept, (text, sign_file(text), other), **fields)]


def rounds(first, *more):
    """Rounds as frames, with everything that their parties know beforehand and must know after the first; members announce
    in the first one and in `more`."""
    roster, announced = first.roster, [first, *more]
    receiving = {str(c): [receiving_draw(c, number).hex() for number in (1, 2)] for c in roster.custodians}
    known = {
        "consortium": roster.text, "signature": sign_file(roster.text).hex(),
        "governance": public_key(GOVERNANCE).hex(), "task": first.settings["task"].hex(),
        "signing_seeds": {str(n): first.seeds[n].hex() for n in [COORDINATOR, *roster.parties]},
        "receiving_draws": receiving, "pair_draws": {str(m): draw.hex() for m, draw in first.pair_draws.items()},
        "model": model_json(first.model),
        "closed": {str(number): blocks for number, blocks in first.closed.items()},
        "draws": [{str(m): dealer.draws.to_json() for m, dealer in one.dealers.items()} for one in announced],
        "contributions": {str(m): made.to_json() for m, made in first.contributions.items()},
    }
    log = [
        {"kind": entry["kind"], "party": entry["party"], "leaf": entry["leaf"].hex()} for entry in first.log.entries
    ]
    expected = {
        "summed": {str(b): {"present": here, "absent": gone, "weight": weight}
                   for b, (here, gone, weight) in first.summed.items()},
        "void": first.void, "blamed": first.blamed, "sums": {str(b): packed.hex() for b, packed in first.sums.items()},
        "reveals": [encode(REVEAL, reveal).hex() for reveal in first.reveals],
        "seeds": {str(m): {str(b): first.dealers[m].seed(b).hex() for b in first.permitted_blocks(m)} for m in first.packed},
        "mask_keys": {str(m): scalar_bytes(first.dealers[m].mask_key.secret).hex() for m in first.needed_mask_keys()},
        "log": log, "root": first.log.root().hex(),
        "closed_model": model_json(first.closed_model),
        "closed_model_digest": fixed.model_digest(first.closed_model).hex(),
    }
    return known | first.script.to_json() | {"expected": expected}
