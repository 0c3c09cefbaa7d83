"""Whatever bytes come: a value, or the one error that is made for it; nothing else, and no memory to speak of (N-1 to N-4, V6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import attrs
import cbor2
import pytest

from zkembed.codec import decode, encode
from zkembed.errors import DecodeError
from zkembed.log.records import decode_body, decode_header, encode_batch
from zkembed.record import Record
from zkembed.transport.base import Hello, LinkError, Refusal
from zkembed.transport.framing import FrameSplitter
from zkembed.transport.handshake import encode_hello, read_answer, read_hello
from zkembed.tree.codec import decode_entry, encode_entry
from zkembed.tree.snapshot import Loader
from zkembed.zab.codec import decode_frame, encode_frame
from zkembed.zab.history import decode_configurations, encode_configurations
from zkembed.zab.quorum import Configuration

from . import corpus
from .effort import ITERATIONS, SEED, refuses_or_reads, watching_memory
from .mutation import mutants, spoil
from .test_schemas import places, replaced

FRAME_BYTES_MAX = 1000


def _entry(data: bytes) -> Any:
    return decode_entry(data, exact=True)


def _entry_again(entry: Any) -> bytes:
    return encode_entry(*entry)


def _hello(data: bytes) -> Hello | Refusal:
    return read_hello(data)


DECODERS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes], Callable[[], Sequence[bytes]], type[Any]]] = {
    "any CBOR": (decode, encode, lambda: (*corpus.frames(), *corpus.entries()), DecodeError),
    "frame": (decode_frame, encode_frame, corpus.frames, DecodeError),
    "record": (Record.decode, lambda record: record.encoded, corpus.records, DecodeError),
    "entry": (_entry, _entry_again, corpus.entries, DecodeError),
    "configuration": (Configuration.decode, Configuration.encode, corpus.configuration_bytes, DecodeError),
    "configurations": (decode_configurations, encode_configurations, corpus.metas, DecodeError),
    "hello": (_hello, lambda hello: b"" if hello in tuple(Refusal) else encode_hello(hello), corpus.hellos, DecodeError),
}


@pytest.mark.parametrize("kind", DECODERS)
def test_spoilt_input_is_read_or_refused(kind: str) -> None:
    """N-4; and what is read reads the same when it is written again, so nothing half-understood comes through."""
    read, write, valid, error = DECODERS[kind]
    for each in valid():
        read(each) if kind != "hello" or each in corpus.hellos()[:2] else None
    accepted = 0
    with watching_memory():
        for mutant in mutants(valid(), SEED, ITERATIONS):
            value = refuses_or_reads(read, mutant, error)
            if value is not None and (again := write(value)):
                accepted += 1
                assert same(read(again), value), str(mutant)
    assert kind == "any CBOR" or accepted < ITERATIONS, "nothing was refused"


def numbers_in(value: Any) -> Iterator[int]:
    """Of a message and all that it holds; a record checks its own."""
    if type(value) is int:
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from numbers_in(each)
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from numbers_in(getattr(value, field.name))


def test_no_number_outside_its_range_comes_through() -> None:
    """N-3: every number of every message becomes one that nobody may say."""
    for frame in corpus.frames():
        for place in places(message := cbor2.loads(frame)):
            for number in (-1, 2**64, -(2**64)):
                try:
                    messages = decode_frame(encode(replaced(message, place, number)))
                except DecodeError:
                    continue
                assert all(0 <= found < 2**64 for found in numbers_in(messages))


def same(one: Any, other: Any) -> bool:
    """Equal, also where there is a NaN in it."""
    return bool(one == other) or repr(one) == repr(other)


def test_a_spoilt_answer_to_a_dial_is_a_link_that_failed() -> None:
    with watching_memory():
        for mutant in mutants(corpus.hellos(), SEED, ITERATIONS):
            refuses_or_reads(read_answer, mutant, DecodeError, LinkError)


def test_a_spoilt_stream_ends_at_its_first_wrong_length() -> None:
    """N-1: every frame that comes out is no longer than allowed; behind the fault nothing comes, and nothing is kept."""

    def split(data: bytes) -> FrameSplitter:
        splitter, random, at = FrameSplitter(FRAME_BYTES_MAX), Random(len(data)), 0
        while at < len(data):
            size = random.choice((1, 3, 50, 1000))
            for frame in splitter.feed(data[at : at + size]):
                assert 0 < len(frame) <= FRAME_BYTES_MAX
            at += size
        return splitter

    with watching_memory():
        for mutant in mutants(corpus.streams(), SEED, ITERATIONS // 4 + 1):
            splitter = refuses_or_reads(split, mutant)
            assert splitter is not None
            assert len(splitter._pending) < FRAME_BYTES_MAX + 4
            assert not (splitter.error and splitter.partial)


def test_the_chunks_of_a_spoilt_snapshot_are_read_or_refused() -> None:
    """Section 18, item 9: what is read has the digest that it says it has, and keeps every invariant."""
    chunks = corpus.snapshot()

    def load(data: bytes) -> None:
        # Each chunk on its own: as if the sums of the way had been made after the damage.
        loader = Loader()
        random = Random(data)
        which = random.randrange(len(chunks))
        for index, chunk in enumerate(chunks):
            loader.feed(data if index == which else chunk)
            if random.random() < 0.03:
                loader.feed(spoil(chunk, chunk, random))
        loader.finish().check_invariants()

    with watching_memory():
        for mutant in mutants(chunks, SEED, ITERATIONS):
            refuses_or_reads(load, mutant, DecodeError)


def test_a_spoilt_batch_is_none_and_a_forged_one_is_refused() -> None:
    """P-4: a batch with valid checksums around nonsense is a DecodeError; one without is no batch."""
    records = corpus.records_of_state()
    batch = encode_batch(records, 0, 0, 0, seed=5, offset=64)

    def read(data: bytes) -> object:
        header = decode_header(data, 5, 64)
        return None if header is None else decode_body(header, data[-(len(data) - 56) :])

    with watching_memory():
        for mutant in mutants([batch], SEED, ITERATIONS):
            refuses_or_reads(read, mutant, DecodeError)
