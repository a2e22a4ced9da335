#!/usr/bin/env python3
"""The table of protocols/growth.md: how many neighbours a sparse mask graph needs.

    growth.py           print the table
    growth.py --check   compare it with the page
"""

import sys
from math import comb
from pathlib import Path

HONEST_COMPANIONS = 2
SECRECY, AVAILABILITY = 2.0**-40, 2.0**-10
PAGE = Path(__file__).with_name("growth.md")


def at_least(population, marked, drawn, wanted):
    """P(a draw without replacement has at least so many marked ones)."""
    if wanted <= 0:
        return 1.0
    ways = sum(comb(marked, hit) * comb(population - marked, drawn - hit) for hit in range(wanted, min(marked, drawn) + 1))
    return ways / comb(population, drawn)


def most_corrupt(members, corrupt, neighbours):
    """The fewest corrupt neighbours that no member exceeds, but with a probability of 2^-40."""
    most = 0
    while members * at_least(members - 1, corrupt, neighbours, most + 1) > SECRECY:
        most += 1
    return most


def neighbours(members, share, corrupt):
    """The fewest neighbours with which every member of a random cohort keeps c_max + H in it, and c_max."""
    cohort = round(members * share)
    for count in range(HONEST_COMPANIONS + 1, members):
        most = most_corrupt(members, corrupt, count)
        kept = at_least(members - 1, cohort - 1, count, most + HONEST_COMPANIONS)
        if cohort * (1 - kept) <= AVAILABILITY:
            return count, most
    return None


def row(members, share):
    """A line of the table."""
    corrupt = members // 5
    found = neighbours(members, share, corrupt)
    count, most = found if found else ("all", "–")
    saved = f"{(members - 1) / count:.1f}" if found else "1.0"
    return f"| {members} | {share} | {corrupt} | {count} | {most} | {saved} |"


def table():
    """All lines."""
    head = ["| n | S / n | T | k | c_max | pair masks saved, times |", "|---|---|---|---|---|---|"]
    return "\n".join(head + [row(members, share) for members in (300, 1000, 3000) for share in (0.5, 0.75, 1.0)])


def main():
    """Runs one of the two commands."""
    if "--check" in sys.argv[1:]:
        sys.exit(None if table() in PAGE.read_text(encoding="utf-8") else "growth.md has another table")
    print(table())


if __name__ == "__main__":
    main()
