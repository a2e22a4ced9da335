"""Draws a sequence diagram as SVG from a text file: `python3 sequence.py round.txt` writes round.svg.

The text file explains its own lines. The drawing needs no font, script or other file, and follows the
reader's light or dark preference.
"""

import sys
from html import escape
from pathlib import Path

WIDTH = 800
LANES = [165, 415, 670]
LANE_BOX = 210
TOP = 20
FONT = "font-family=\"-apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\""
STYLE = """
  .paper { fill: #ffffff; stroke: #d0d7de; }
  .lane { stroke: #afb8c1; stroke-dasharray: 2 4; }
  .head { fill: #f6f8fa; stroke: #57606a; }
  .do { fill: #fff8e6; stroke: #9a6700; }
  .band { stroke: #d8dee4; }
  .badge { fill: #57606a; }
  .on-badge { fill: #ffffff; font-weight: 600; }
  .plain { stroke: #24292f; fill: #24292f; }
  .masked { stroke: #0a58ca; fill: #0a58ca; }
  .certified { stroke: #1a7f37; fill: #1a7f37; }
  text { stroke: none; fill: #24292f; }
  text.small { fill: #57606a; }
  text.masked { fill: #0a58ca; }
  text.certified { fill: #1a7f37; }
  .halo { stroke: #ffffff; stroke-width: 4px; paint-order: stroke; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; stroke: #30363d; }
    .lane { stroke: #484f58; }
    .head { fill: #161b22; stroke: #8b949e; }
    .do { fill: #272115; stroke: #d29922; }
    .band { stroke: #21262d; }
    .badge { fill: #8b949e; }
    .on-badge { fill: #0d1117; }
    .plain { stroke: #e6edf3; fill: #e6edf3; }
    .masked { stroke: #6cb6ff; fill: #6cb6ff; }
    .certified { stroke: #57ab5a; fill: #57ab5a; }
    text { fill: #e6edf3; }
    text.small { fill: #9ea7b3; }
    text.masked { fill: #6cb6ff; }
    text.certified { fill: #57ab5a; }
    text.on-badge { fill: #0d1117; }
    .halo { stroke: #0d1117; }
  }
"""
KINDS = {"~": "masked", "*": "certified"}
LEGEND = [
    ("plain", "readable by the receiver"),
    ("masked", "masked or encrypted"),
    ("certified", "signed by a quorum of custodians"),
]
GAP = 7


class Drawing:
    def __init__(self):
        self.parts = []
        self.lanes = {}
        self.y = TOP
        self.steps = 0

    def text(self, x, y, content, size=14, classes="", anchor="middle", weight=400):
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
            f' class="{classes}">{escape(content)}</text>'
        )

    def box(self, x, y, width, height, kind):
        self.parts.append(
            f'<rect x="{x - width / 2:g}" y="{y}" width="{width}" height="{height}" rx="6" class="{kind}"/>'
        )

    def lane(self, name, title, subtitle):
        x = LANES[len(self.lanes)]
        self.lanes[name] = x
        self.box(x, TOP, LANE_BOX, 52, "head")
        self.text(x, TOP + 22, title, 16, weight=600)
        self.text(x, TOP + 41, subtitle, 12.5, "small")
        self.y = TOP + 52

    def step(self, title):
        self.steps += 1
        self.y += 14
        self.parts.append(f'<path d="M16 {self.y}H{WIDTH - 16}" class="band"/>')
        self.parts.append(f'<circle cx="30" cy="{self.y + 19}" r="10" class="badge"/>')
        self.text(30, self.y + 23.5, str(self.steps), 12.5, "on-badge")
        self.text(46, self.y + 24, title, 13.5, "halo", "start", 600)
        self.y += 8

    def do(self, lane, content):
        lines = content.split("|")
        height = 10 + 17 * len(lines)
        width = 24 + max(len(line) for line in lines) * 8.1
        self.y += 8
        self.box(self.lanes[lane], self.y, round(width), height, "do")
        for number, line in enumerate(lines):
            self.text(self.lanes[lane], self.y + 18 + 17 * number, line)
        self.y += height

    def arrow_head(self, x, y, direction, kind):
        self.parts.append(f'<path d="M{x} {y}l{-9 * direction} -5v10z" class="{kind}"/>')

    def arrow(self, start, end, content, both=False, via=None):
        kind = KINDS.get(content[0], "plain")
        content = content.lstrip("~*")
        self.y += 30
        direction = 1 if end > start else -1
        left, right = start + GAP * direction, end - GAP * direction
        self.parts.append(f'<path d="M{left} {self.y}H{right}" class="{kind}" stroke-width="1.6"/>')
        self.arrow_head(right, self.y, direction, kind)
        if both:
            self.arrow_head(left, self.y, -direction, kind)
        if via is not None:
            self.parts.append(f'<circle cx="{via}" cy="{self.y}" r="4" class="{kind}"/>')
        self.text((start + end) / 2, self.y - 8, content, 14, f"{kind} halo")

    def legend(self):
        self.y += 22
        self.parts.append(f'<path d="M16 {self.y}H{WIDTH - 16}" class="band"/>')
        self.y += 24
        x = 24
        for kind, meaning in LEGEND:
            self.parts.append(f'<path d="M{x} {self.y - 4}h24" class="{kind}" stroke-width="2"/>')
            self.text(x + 32, self.y, meaning, 12.5, "small", "start")
            x += 76 + len(meaning) * 7

    def svg(self):
        end = self.y + 12
        self.legend()
        height = self.y + 16
        lines = "".join(
            f'<path d="M{x} {TOP + 52}V{end}" class="lane"/>' for x in self.lanes.values()
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
            f' height="{height}" {FONT} role="img" aria-label="A round, step by step">\n'
            f"<style>{STYLE}</style>\n"
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" class="paper"/>\n'
            f"{lines}\n" + "\n".join(self.parts) + "\n</svg>\n"
        )


def draw(text):
    drawing = Drawing()
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        head, _, content = line.partition(":")
        word, *names = head.split()
        content = content.strip()
        at = drawing.lanes.get
        if word == "lane":
            drawing.lane(names[0], *(part.strip() for part in content.split("|")))
        elif word == "step":
            drawing.step(" ".join(names))
        elif word == "do":
            drawing.do(names[0], content)
        elif word == "send":
            drawing.arrow(at(names[0]), at(names[1]), content)
        elif word == "both":
            drawing.arrow(at(names[0]), at(names[1]), content, both=True)
        elif word == "relay":
            drawing.arrow(at(names[0]), at(names[2]), content, via=at(names[1]))
        else:
            sys.exit(f"unknown line: {line}")
    return drawing.svg()


if __name__ == "__main__":
    source = Path(sys.argv[1])
    source.with_suffix(".svg").write_text(draw(source.read_text()))
