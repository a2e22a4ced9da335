"""The floors and quorums of a roster (FLOOR-01 to FLOOR-05)."""

from .refusal import require


def floors(organisations, custodians):
    """All numbers that follow from the sizes of a roster."""
    n, c = organisations, custodians
    require(3 <= n <= 300, "members")
    require(c >= 3, "custodians")
    f = -(-c // 3) - 1
    t = max(f, n // 5)
    cohort = t + 2 + 1
    require(cohort <= n, "unreachable")
    seal = (c + f) // 2 + 1
    return {
        "malicious_custodians": f,
        "corrupt_organisations": t,
        "cohort": cohort,
        "seal_quorum": seal,
        "reveal_threshold": c // 2 + 1,
        "tolerated_losses": min(n - cohort, c - seal),
    }
