"""A round as a list of frames, in an order in which they may travel."""

from .framing import message_frame

COORDINATOR = "coordinator"


class Script:
    """Frames with senders and receivers. A receiver or sender is `coordinator`, `member N` or `custodian N`; a frame that a
    sender makes against the rules is a lie."""

    def __init__(self):
        self.frames, self.entries = [], []

    def send(self, sender, receivers, frame, lie=False):
        """Adds a frame; the same frame is stored once."""
        if frame not in self.frames:
            self.frames.append(frame)
        entry = {"from": sender, "to": list(receivers), "frame": self.frames.index(frame)}
        self.entries.append(entry | ({"lie": True} if lie else {}))

    def ask(self, receivers, message):
        """A message of the coordinator."""
        self.send(COORDINATOR, receivers, message_frame(message))

    def tell(self, sender, message, lie=False):
        """A message to the coordinator."""
        self.send(sender, [COORDINATOR], message_frame(message), lie)

    def to_json(self):
        return {"frames": [frame.hex() for frame in self.frames], "script": self.entries}


def member(number):
    """A member's name in scripts."""
    return f"member {number}"


def custodian(number):
    """A custodian's name in scripts."""
    return f"custodian {number}"
