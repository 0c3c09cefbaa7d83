"""Valid bytes spoilt in the ways in which wires, disks and enemies spoil them, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from attrs import frozen

CHANGES_MAX = 3
PIECE_BYTES_MAX = 64
# What a length, a count, a zxid or an epoch is when somebody means harm.
LENGTHS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
# First bytes of CBOR items that announce something: 8-byte lengths of each major type, indefinite ones, tags, floats, breaks.
HEADS = b"\x1b\x3b\x5b\x7b\x9b\xbb\xdb\x5f\x7f\x9f\xbf\xc0\xc2\xd8\xf4\xf6\xf7\xf8\xfb\xff"


@frozen
class Mutant:
    """data, and how to get it again: its source's number in the corpus, the seed, its own number."""

    data: bytes
    seed: int
    number: int
    source: int

    def __str__(self) -> str:
        shown = self.data.hex() if len(self.data) <= 400 else f"{self.data[:400].hex()}... ({len(self.data)} bytes)"
        return f"seed {self.seed}, mutant {self.number} of valid input {self.source}: {shown}"


def mutants(corpus: Sequence[bytes], seed: int, count: int) -> Iterator[Mutant]:
    """``count`` of them, one after another. Equal arguments, equal mutants; each number by itself, too."""
    for number in range(count):
        random = Random(f"{seed}.{number}")
        source = random.randrange(len(corpus))
        yield Mutant(spoil(corpus[source], random.choice(corpus), random), seed, number, source)


def spoil(data: bytes, other: bytes, random: Random) -> bytes:
    """Up to three changes. other: a second valid input, to splice in."""
    for _ in range(random.randint(1, CHANGES_MAX)):
        way = random.choice(WAYS)
        data = way(data, other, random)
    return data


def _flip(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :] if data else data


def _overwrite(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.randbytes(random.choice((1, 1, 2, 8))) + data[at + 1 :]


def _truncate(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] if random.random() < 0.7 else data[at:]


def _lengthen(data: bytes, other: bytes, random: Random) -> bytes:
    """A number of one to eight bytes becomes another one, wherever it stands."""
    at, width = _place(data, random), random.choice((1, 2, 4, 8))
    return data[:at] + (random.choice(LENGTHS) % (1 << 8 * width)).to_bytes(width, "big") + data[at + width :]


def _announce(data: bytes, other: bytes, random: Random) -> bytes:
    """An item that says it is long, of a kind that nobody expects here."""
    at = _place(data, random)
    return data[:at] + bytes([random.choice(HEADS)]) + random.choice(LENGTHS).to_bytes(8, "big") + data[at + 1 :]


def _splice(data: bytes, other: bytes, random: Random) -> bytes:
    piece = _piece(other, random)
    at = _place(data, random)
    return data[:at] + piece + data[at + (len(piece) if random.random() < 0.5 else 0) :]


def _double(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + _piece(data, random) * random.randint(1, 3) + data[at:]


def _remove(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + len(_piece(data, random)) :]


WAYS: tuple[Callable[[bytes, bytes, Random], bytes], ...] = (
    _flip,
    _flip,
    _overwrite,
    _truncate,
    _lengthen,
    _announce,
    _splice,
    _double,
    _remove,
)


def _place(data: bytes, random: Random) -> int:
    return random.randrange(len(data)) if data else 0


def _piece(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[at : at + random.randint(1, PIECE_BYTES_MAX)]
