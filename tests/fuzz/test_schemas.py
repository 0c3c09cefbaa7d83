"""Well-formed CBOR that says something else than it should: one value anywhere in a valid input replaced by another (N-3, HX-3, HX-15).

Mutated bytes seldom come so far: here every length is right, every checksum that covers the value is made anew, and only the schema
stands between the value and the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any
from zlib import crc32

import cbor2
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from zkembed.errors import DecodeError, StorageError
from zkembed.log.epochs import load_epochs
from zkembed.log.identity import load_identity
from zkembed.log.manifest import load_manifest
from zkembed.log.records import decode_body, decode_header, encode_batch
from zkembed.log.simulated_disk import SimulatedDisk
from zkembed.record import Record, extend_chain
from zkembed.transport.base import LinkError
from zkembed.transport.handshake import read_answer, read_hello
from zkembed.tree.codec import decode_entry
from zkembed.tree.digest import hash_header
from zkembed.tree.freeze import HEADER
from zkembed.tree.snapshot import Loader
from zkembed.zab.codec import decode_frame
from zkembed.zab.history import decode_configurations
from zkembed.zab.quorum import Configuration

from . import corpus
from .effort import ITERATIONS, SEED, refuses_or_reads, watching_memory
from .mutation import Mutant

Value = Any

ODD: tuple[Value, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**64), 1.0, float("nan"), float("inf")),
    *("", "x", "/", "/a/../b", "\0", "ü" * 300, "x" * 50_000, b"", b"\x80", b"x" * 16, b"\xff" * 50_000),
    *([], [[]], [1] * 5_000, [[[[[]]]]], {}, {1: 2}, {"a": []}),
)

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.floats(), st.text(max_size=8), st.binary(max_size=20)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


def places(value: Value) -> list[tuple[int, ...]]:
    """The way to every value inside, itself among them."""
    found: list[tuple[int, ...]] = [()]
    if isinstance(value, list):
        found += [(index, *rest) for index, each in enumerate(value) for rest in places(each)]
    return found


def replaced(value: Value, place: tuple[int, ...], new: Value) -> Value:
    if not place:
        return new
    return [replaced(each, place[1:], new) if index == place[0] else each for index, each in enumerate(value)]


def reshaped(value: Value, random: Random) -> Value:
    """One value replaced, dropped, doubled or moved, or two."""
    for _ in range(random.choice((1, 1, 2))):
        place = random.choice(places(value))
        inside = value
        for index in place:
            inside = inside[index]
        if isinstance(inside, list) and inside and random.random() < 0.4:
            at = random.randrange(len(inside))
            shuffled = [*inside]
            random.shuffle(shuffled)
            new: Value = random.choice([inside[:at], [*inside, inside[at]], inside[at:], inside[:at] + inside[at + 1 :], shuffled])
        elif type(inside) is int and random.random() < 0.5:
            new = inside + random.choice((-1, 1, 256, 2**32))
        else:
            new = random.choice(ODD)
        value = replaced(value, place, new)
    return value


# --- each kind: valid values, and how bytes are made of one and read ---------------------------------------------------


def _snapshot_reader(data: bytes) -> None:
    """A whole snapshot one page of which is ``data``; the header's seal is made anew, as one would who knows the format."""
    page = cbor2.loads(data)
    if isinstance(page, list) and page[:1] == [HEADER] and len(page) == 9 and all(type(number) is int for number in page[3:8]):
        data = cbor2.dumps([*page[:8], hash_header(tuple(page[3:8]))])
    kind = page[0] if isinstance(page, list) and page else None
    loader, put = Loader(), False
    for chunk, whole in zip(corpus.snapshot(), pages(), strict=True):
        if not put and whole[0] == kind:
            loader.feed(chunk[:1] + data)
            put = True
        else:
            loader.feed(chunk)
    if not put:
        loader.feed(corpus.snapshot()[-1][:1] + data)
    loader.finish().check_invariants()


def pages() -> list[Value]:
    return [cbor2.loads(chunk[1:]) for chunk in corpus.snapshot()]


def _cell_reader(name: str, load: Callable[[SimulatedDisk], object]) -> Callable[[bytes], object]:
    """``data`` as the value of a small file, both copies with the checksum that fits."""

    def read(data: bytes) -> object:
        disk = SimulatedDisk()
        head = b"zkeCell\x01" + len(data).to_bytes(4, "big") + crc32(data, crc32(name.encode())).to_bytes(4, "big")
        disk.create(name).write_at(0, head + data)
        return load(disk)

    return read


def _batch_reader(data: bytes) -> object:
    """A batch with this body."""
    first, last = corpus.records_of_state()[0].zxid, corpus.records_of_state()[-1].zxid
    plain = encode_batch(corpus.records_of_state(), 0, 0, 0, 5, 64)
    header = decode_header(plain, 5, 64)
    assert header is not None
    assert (header.first, header.last) == (first, last)
    forged = evolve(header, body_bytes=len(data))
    return decode_body(forged, data + crc32(data, header.checksum).to_bytes(4, "big"))


def _record_reader(data: bytes) -> object:
    return Record.decode(data + extend_chain(0, data).to_bytes(8, "big"))


def loaded(parts: Sequence[bytes]) -> list[Value]:
    return [cbor2.loads(part) for part in parts if part]


MANIFEST = [2, 77, 2**32 + 5, 4, [[1, 2, 0, 500], [2, 3, 2**32 + 4, 0]], [[1, 2**32 + 2]]]

KINDS: dict[str, tuple[Callable[[], list[Value]], Callable[[bytes], object]]] = {
    "frame": (lambda: loaded(corpus.frames()), decode_frame),
    "record": (lambda: loaded([record[:-8] for record in corpus.records()]), _record_reader),
    "entry": (lambda: loaded(corpus.entries()), lambda data: decode_entry(data, exact=True)),
    "configuration": (lambda: loaded(corpus.configuration_bytes()), Configuration.decode),
    "configurations": (lambda: loaded(corpus.metas()), decode_configurations),
    "hello": (lambda: loaded(corpus.hellos()[:2]), read_hello),
    "answer": (lambda: loaded(corpus.hellos()), read_answer),
    "snapshot": (pages, _snapshot_reader),
    "batch": (lambda: [[record.encoded for record in corpus.records_of_state()]], _batch_reader),
    "identity": (lambda: [[1, "cluster", 3, b"s" * 16, 7, "boot", True, True]], _cell_reader("identity", load_identity)),
    "epochs": (lambda: [[5, 1, 4, False]], _cell_reader("epochs", load_epochs)),
    "manifest": (lambda: [MANIFEST], _cell_reader("manifest", load_manifest)),
}
REFUSALS = (DecodeError, LinkError, StorageError)


def forged(kind: str, count: int) -> Iterator[Mutant]:
    valid = KINDS[kind][0]()
    for number in range(count):
        random = Random(f"{SEED}.{kind}.{number}")
        source = random.randrange(len(valid))
        yield Mutant(cbor2.dumps(reshaped(valid[source], random)), SEED, number, source)


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_another_kind_anywhere_is_read_or_refused(kind: str) -> None:
    """N-3, and the same for what lies on a disk."""
    read = KINDS[kind][1]
    refused = 0
    with watching_memory():
        for mutant in forged(kind, ITERATIONS // 2 + 1):
            refused += refuses_or_reads(read, mutant, *REFUSALS) is None
    assert refused


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_any_value_anywhere_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    valid, read = KINDS[kind]
    source = data.draw(st.sampled_from(valid()))
    place = data.draw(st.sampled_from(places(source)))
    body = cbor2.dumps(replaced(source, place, data.draw(values)))
    with watching_memory():
        refuses_or_reads(read, Mutant(body, 0, 0, 0), *REFUSALS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_valid_ones_are_read(kind: str) -> None:
    """Or nothing above would be about what lies behind the first check."""
    valid, read = KINDS[kind]
    for value in valid():
        try:
            read(cbor2.dumps(value))
        except LinkError:
            assert len(value) == 4, "a refusal, and read as one"
        except DecodeError as error:
            raise AssertionError(f"{value!r}") from error
