"""Scores in place of sketches: groups of experts, and what members announce (ALIGN-16, ALIGN-17, ROUND-10)."""

from .refusal import require


def expert_blocks(settings):
    """The numbers of the expert blocks."""
    return [row["shape"]["id"] for row in settings["blocks"] if "Expert" in row["shape"]["kind"]]


def announced_under(settings):
    """ALIGN-16: for each expert block the first block of its group, which the group's score names."""
    experts, groups = expert_blocks(settings), settings["scoring"]["groups"]
    first_of = {}
    return {
        block: first_of.setdefault(at * groups // len(experts), block) for at, block in enumerate(experts)
    }


def first_blocks(settings):
    """The blocks that scores name, ascending."""
    return sorted(set(announced_under(settings).values()))


def score_consensus(sketches):
    """ALIGN-17: each member's consensus by its score, or none."""
    scores = [sketch["values"]["Score"] for sketch in sketches]
    return [None if score is None else max(0, score) for score in scores]


def check_scores(settings, sketches):
    """ROUND-10: one score for each group, and scores for all groups or for none."""
    require([sketch["block"] for sketch in sketches] == first_blocks(settings), "announcement")
    require(all("Score" in sketch["values"] and sketch["tokens"] == 0 for sketch in sketches), "announcement")
    require(len({sketch["values"]["Score"] is None for sketch in sketches}) == 1, "announcement")
