"""One worked example for each message: a page of frames, field by field."""

from .canonical import Bytes, Many, Optional, Structure, Text, Variants
from .framing import message_frame
from .schema import MESSAGE
from .wire_files import variant

TITLE = """# One frame of each message

Each line has bytes of the frame in hex, and what they are; the bytes of all lines, one after the other, are the frame. Values
are arbitrary: the pages of the specification say which ones a party accepts. Bodies stand here as three bytes; the
vectors in `rounds.json` have real ones. Written by `cargo xtask vectors`.
"""


def behind_length(data, name):
    """Bytes behind their length."""
    lines = [(len(data).to_bytes(8, "little"), f"{name}: length")]
    return lines + ([(data, name)] if data else [])


def fields(schema, value, name):
    """The lines of one value: its bytes, and what they are."""
    match schema:
        case Structure():
            return [line for key, field in schema.fields.items() for line in fields(field, value[key], f"{name}.{key}")]
        case Many():
            items = [line for at, own in enumerate(value) for line in fields(schema.item, own, f"{name}[{at}]")]
            return [(len(value).to_bytes(8, "little"), f"{name}: number of items"), *items]
        case Optional():
            present = (bytes([value is not None]), f"{name}: present or not")
            return [present, *([] if value is None else fields(schema.item, value, name))]
        case Variants():
            chosen, payload = (value, None) if isinstance(value, str) else next(iter(value.items()))
            number = schema.names.index(chosen).to_bytes(4, "little")
            inner = schema.variants[chosen]
            return [(number, f"{name}: {chosen}"), *(fields(inner, payload, name) if inner else [])]
        case Bytes() | Text():
            return behind_length(value.encode() if isinstance(value, str) else value, name)
        case _:
            return [(schema.write(value), name)]


def example(index):
    """The section of one message."""
    name = MESSAGE.names[index]
    message = variant(MESSAGE, index, 1)
    inner = MESSAGE.variants[name]
    frame = [(b"\x01", "version"), (b"\x00", "class: message"), (index.to_bytes(4, "little"), f"message: {name}")]
    body = [(data, what.removeprefix(".")) for data, what in fields(inner, next(iter(message.values())), "")]
    lines = frame + body
    assert b"".join(data for data, _ in lines) == message_frame(message), name
    text = [f"{data.hex()}  {what}" if len(data) <= 32 else f"{data.hex()}\n    {what}" for data, what in lines]
    return f"## {index} `{name}`\n\n```\n" + "\n".join(text) + "\n```\n"


def page():
    """The whole page."""
    return "\n".join([TITLE, *(example(index) for index in range(len(MESSAGE.names)))])
