"""Where the frames of the rounds are replaced by frames that must be refused."""

from .framing import decode_frame, message_frame
from .script import COORDINATOR
from .statements import signed


class Refusals:
    """Collects frames that a receiver must refuse just before it gets the right one. The coordinator gets them from whoever
    sends the right one.

    `before` and `after` are frames that it must accept around the refused one; a `fork` is for a receiver of its
    own, which got everything before that entry and gets nothing after the refused frame. After a refusal aloud the receiver
    also sends a `Refusal`; an `answer` is the frame that it sends, from the random bytes `draw`.
    """

    def __init__(self, first):
        self.first, self.script, self.listed, self.answered = first, first.script, [], []
        self.decoded = [decode_frame(frame) for frame in self.script.frames]

    def place(self, receiver, variant, nth=0):
        """The number of the entry in which the receiver gets this variant of a message."""
        for at, entry in enumerate(self.script.entries):
            message = self.decoded[entry["frame"]].get("message", {})
            if receiver in entry["to"] and entry["from"] == COORDINATOR and variant in message:
                if nth == 0:
                    return at
                nth -= 1
        raise LookupError(f"{receiver} gets no such {variant}")

    def place_of(self, sender, variant):
        """The number of the entry in which a party sends this variant of a message."""
        for at, entry in enumerate(self.script.entries):
            if entry["from"] == sender and variant in self.decoded[entry["frame"]].get("message", {}):
                return at
        raise LookupError(f"{sender} sends no {variant}")

    def message(self, at):
        """The message of an entry."""
        return self.decoded[self.script.entries[at]["frame"]]["message"]

    def add(self, at, receiver, step, about, message, before=(), after=(), aloud=False, answer=None, fork=False):
        """A message or frame that must be refused at a step."""
        frame = lambda item: (item if isinstance(item, bytes) else message_frame(item)).hex()
        case = {"entry": at, "to": receiver, "step": step, "about": about, "frame": frame(message)}
        if before:
            case["before"] = [frame(item) for item in before]
        if after:
            case["after"] = [frame(item) for item in after]
        if aloud:
            case["aloud"] = True
        if fork:
            case["fork"] = True
        if answer:
            case["draw"], case["answer"] = answer[0].hex(), frame(answer[1])
        self.listed.append(case)

    def answer(self, at, receiver, about, message, reply):
        """A message that a receiver of its own takes in place of the right one, and what it then sends."""
        frames = {"frame": message_frame(message).hex(), "answer": message_frame(reply).hex()}
        self.answered.append({"entry": at, "to": receiver, "about": about, **frames})

    def to_json(self):
        return {"refused": self.listed, "answered": self.answered}

    def signed(self, kind, value, signer):
        """A statement with a right signature."""
        return signed(kind, value, signer, self.first.seeds[signer])


def flipped(signature):
    """A damaged signature."""
    return bytes([signature[0] ^ 1]) + signature[1:]
