"""A round as a list of frames, in an order in which they may travel."""

from .framing import message_frame

COORDINATOR = "coordinator"


class Script:
    """Frames with senders and receivers. A receiver or sender is `coordinator`, `member N` or `custodian N`."""

    def __init__(self):
        self.frames, self.entries = [], []

    def send(self, sender, receivers, frame):
        """Adds a frame; the same frame is stored once."""
        if frame not in self.frames:
            self.frames.append(frame)
        self.entries.append({"from": sender, "to": list(receivers), "frame": self.frames.index(frame)})

    def say(self, sender, receivers, message):
        """Adds a message."""
        self.send(sender, receivers, message_frame(message))

    def ask(self, receivers, message):
        """A message of the coordinator."""
        self.say(COORDINATOR, receivers, message)

    def tell(self, sender, message):
        """A message to the coordinator."""
        self.say(sender, [COORDINATOR], message)

    def to_json(self):
        return {"frames": [frame.hex() for frame in self.frames], "script": self.entries}


def member(number):
    """A member's name in scripts."""
    return f"member {number}"


def custodian(number):
    """A custodian's name in scripts."""
    return f"custodian {number}"
