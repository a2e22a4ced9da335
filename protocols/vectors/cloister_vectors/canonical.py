"""The canonical encoding (WIRE-01 to WIRE-03), driven by schemas.

Values are integers, bytes, strings, lists, dictionaries for structures, and for enums the variant's name or a
dictionary of one entry from its name to its payload. In JSON a digest is hex, other bytes are `{"bytes": hex}`.
"""

from .refusal import require

MAX_ENCODED = 8 << 20


class Reader:
    """The bytes that are left to decode."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        """The next bytes."""
        require(count <= len(self.data) - self.at, "malformed")
        self.at += count
        return self.data[self.at - count:self.at]

    def length(self):
        """A 64-bit length, which can be no longer than what is left."""
        return int.from_bytes(self.take(8), "little")


class Integer:
    """A little-endian integer of fixed width."""

    def __init__(self, size, signed=False):
        self.size, self.signed = size, signed

    def write(self, value):
        return value.to_bytes(self.size, "little", signed=self.signed)

    def read(self, reader):
        return int.from_bytes(reader.take(self.size), "little", signed=self.signed)

    def to_json(self, value):
        return value


class Truth:
    """One byte, 0 or 1."""

    def write(self, value):
        return bytes([value])

    def read(self, reader):
        value = reader.take(1)[0]
        require(value < 2, "malformed")
        return bool(value)

    def to_json(self, value):
        return value


class Bare:
    """Bytes of a fixed number, without a length."""

    def __init__(self, size):
        self.size = size

    def write(self, value):
        assert len(value) == self.size
        return value

    def read(self, reader):
        return reader.take(self.size)

    def to_json(self, value):
        return {"bytes": value.hex()}


class Digest(Bare):
    """A digest, which JSON has as plain hex."""

    def __init__(self):
        super().__init__(32)

    def to_json(self, value):
        return value.hex()


class Bytes:
    """A byte string behind its length; of a fixed number where one is given."""

    def __init__(self, size=None):
        self.size = size

    def write(self, value):
        assert self.size in (None, len(value))
        return len(value).to_bytes(8, "little") + value

    def read(self, reader):
        value = reader.take(reader.length())
        require(self.size in (None, len(value)), "malformed")
        return value

    def to_json(self, value):
        return {"bytes": value.hex()}


class Text:
    """UTF-8 behind its length."""

    def write(self, value):
        return Bytes().write(value.encode())

    def read(self, reader):
        try:
            return Bytes().read(reader).decode()
        except UnicodeDecodeError:
            require(False, "malformed")

    def to_json(self, value):
        return value


class Many:
    """A list behind its length."""

    def __init__(self, item):
        self.item = item

    def write(self, value):
        return len(value).to_bytes(8, "little") + b"".join(map(self.item.write, value))

    def read(self, reader):
        count = reader.length()
        require(count <= len(reader.data), "malformed")
        return [self.item.read(reader) for _ in range(count)]

    def to_json(self, value):
        return [self.item.to_json(item) for item in value]


class Optional:
    """One byte, 0 or 1, then the value if there is one."""

    def __init__(self, item):
        self.item = item

    def write(self, value):
        return b"\x00" if value is None else b"\x01" + self.item.write(value)

    def read(self, reader):
        present = reader.take(1)[0]
        require(present < 2, "malformed")
        return self.item.read(reader) if present else None

    def to_json(self, value):
        return None if value is None else self.item.to_json(value)


class Structure:
    """Fields in their order."""

    def __init__(self, **fields):
        self.fields = fields

    def write(self, value):
        assert value.keys() == self.fields.keys(), (value.keys(), self.fields.keys())
        return b"".join(schema.write(value[name]) for name, schema in self.fields.items())

    def read(self, reader):
        return {name: schema.read(reader) for name, schema in self.fields.items()}

    def to_json(self, value):
        return {name: schema.to_json(value[name]) for name, schema in self.fields.items()}


class Variants:
    """An enum: the variant's number as `u32`, then its payload; `None` stands for no payload."""

    def __init__(self, **variants):
        self.variants, self.names = variants, list(variants)

    @staticmethod
    def _parts(value):
        return (value, None) if isinstance(value, str) else next(iter(value.items()))

    def write(self, value):
        name, payload = self._parts(value)
        schema = self.variants[name]
        return self.names.index(name).to_bytes(4, "little") + (schema.write(payload) if schema else b"")

    def read(self, reader):
        number = int.from_bytes(reader.take(4), "little")
        require(number < len(self.names), "malformed")
        name = self.names[number]
        schema = self.variants[name]
        return {name: schema.read(reader)} if schema else name

    def to_json(self, value):
        name, payload = self._parts(value)
        schema = self.variants[name]
        return {name: schema.to_json(payload)} if schema else name


def encode(schema, value):
    """The canonical encoding of a value."""
    return schema.write(value)


def decode(schema, data):
    """The value of exactly these bytes."""
    require(len(data) <= MAX_ENCODED, "too-long")
    reader = Reader(data)
    value = schema.read(reader)
    require(reader.at == len(data), "trailing")
    require(schema.write(value) == data, "not-canonical")
    return value
