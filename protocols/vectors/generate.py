#!/usr/bin/env python3
"""Writes the test vectors of Cloister's protocol, or checks values that the Rust code made.

    generate.py write FOLDER    write every file of this version
    generate.py verify FILE     check a file that the conformance tests wrote

Both are from the specification beside this folder, and share no code with the Rust crates. Needs Python 3.11 and the
package `cryptography`; `cargo xtask vectors` brings it.
"""

import json
import sys
from pathlib import Path

from cloister_vectors import bar_files, crypto_files, enrolment_files, examples, invitation_files, number_files, round_files
from cloister_vectors import scoring_files, self_test
from cloister_vectors import sharing_files, verifying, wire_files
from cloister_vectors import refused_announcements, refused_bars, refused_blame, refused_by_coordinator, refused_late
from cloister_vectors import refused_plans, refused_repeats, refused_reveals, refused_scores, refused_seals
from cloister_vectors.blame_round import BlameRound
from cloister_vectors.late_round import LateRound
from cloister_vectors.refusals import Refusals
from cloister_vectors.rehearsal_round import RehearsalRound
from cloister_vectors.repeated_rounds import RepeatingRound, UnchangedRound
from cloister_vectors.round_one import RoundOne
from cloister_vectors.round_two import RoundTwo
from cloister_vectors.sign_round import SignRound
from cloister_vectors.withheld_round import WithheldRound

FILES = {
    "digests": crypto_files.digests,
    "merkle": crypto_files.merkle,
    "signatures": crypto_files.signatures,
    "group": crypto_files.group,
    "knowledge": crypto_files.knowledge,
    "agreements": crypto_files.agreements,
    "shamir": crypto_files.shamir,
    "commitments": sharing_files.commitments,
    "seeds": sharing_files.seeds,
    "openings": sharing_files.openings,
    "letters": crypto_files.letters,
    "masks": number_files.masks,
    "packing": number_files.packing,
    "quantise": number_files.quantise,
    "apply": number_files.apply,
    "consistency": number_files.consistency,
    "sketches": number_files.sketches,
    "signs": number_files.signs,
    "late": number_files.late_sketches,
    "floors": scoring_files.floors,
    "scores": scoring_files.scores,
    "cohorts": scoring_files.cohorts,
    "codec": wire_files.codec,
    "frames": wire_files.frames,
    "consortium": round_files.consortium,
    "enrolments": enrolment_files.enrolments,
    "invitations": invitation_files.invitations,
}


def rounds():
    """The round file, where its frames are replaced by ones that must be refused, and evidence about its dealings."""
    first = RoundOne()
    second = RoundTwo(first)
    refusals = Refusals(first)
    refused_plans.add(refusals)
    refused_announcements.add(refusals)
    refused_seals.add(refusals, second)
    refused_reveals.add(refusals)
    refused_by_coordinator.add(refusals)
    refused_by_coordinator.add_requests(refusals)
    refused_bars.add(refusals, second)
    refused_scores.add(refusals)
    return round_files.rounds(first), refusals.to_json(), bar_files.bar_file(first)


def repeated_rounds():
    """Two rounds from the same parameters, and what must be refused of the second."""
    first = UnchangedRound()
    second = RepeatingRound(first)
    refusals = Refusals(first)
    refused_repeats.add(refusals, second)
    return round_files.rounds(first, second), refusals.to_json()


def late_round(round_class, *refused):
    """A round with late sketches, and what must be refused of it."""
    late = round_class()
    refusals = Refusals(late)
    for pages in refused:
        pages.add(refusals)
    return round_files.rounds(late), refusals.to_json()


def compact(value):
    """JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def pretty(value):
    """JSON with one line an entry of each list, so that differences can be read."""
    lines = []
    for name, entry in value.items():
        if isinstance(entry, list) and entry:
            inner = ",\n".join(f"    {compact(item)}" for item in entry)
            lines.append(f"  {compact(name)}: [\n{inner}\n  ]")
        else:
            lines.append(f"  {compact(name)}: {compact(entry)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write(folder):
    """Writes every file into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {name: make() for name, make in FILES.items()}
    values["rounds"], values["rounds_bad"], values["bars"] = rounds()
    values["repeated_rounds"], values["repeated_rounds_bad"] = repeated_rounds()
    values["sign_round"] = round_files.rounds(SignRound())
    values["withheld_round"] = round_files.rounds(WithheldRound())
    values["rehearsal_round"] = round_files.rounds(RehearsalRound())
    values["late_round"], values["late_round_bad"] = late_round(LateRound, refused_late, refused_by_coordinator)
    values["blame_round"], values["blame_round_bad"] = late_round(BlameRound, refused_blame)
    for name, value in values.items():
        (folder / f"{name}.json").write_text(pretty(value), encoding="utf-8")
    (folder / "examples.md").write_text(examples.page(), encoding="utf-8")


def main(arguments):
    """Runs one of the two commands."""
    self_test.run()
    match arguments:
        case ["write", folder]:
            write(Path(folder))
        case ["verify", file]:
            counts = verifying.verify(json.loads(Path(file).read_text(encoding="utf-8")))
            print(", ".join(f"{count} {name}" for name, count in counts.items()), "hold")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
