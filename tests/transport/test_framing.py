"""Rule N-1: frames, and lengths that are judged before any buffer grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkembed.errors import BadArgumentsError
from zkembed.transport.framing import FrameSplitter, encode_frame

FRAME_BYTES_MAX = 1000
frames_of_all_sizes = st.lists(st.binary(min_size=1, max_size=FRAME_BYTES_MAX), max_size=12)


def wire(frames: list[bytes]) -> bytes:
    return b"".join(encode_frame(frame, FRAME_BYTES_MAX) for frame in frames)


@given(frames_of_all_sizes, st.data())
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames: list[bytes], data: st.DataObject) -> None:
    stream = wire(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    found = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += splitter.feed(stream[start:stop])
    assert found == frames
    assert splitter.error is None
    assert not splitter.partial


@given(frames_of_all_sizes)
def test_reading_what_is_missing_never_reads_past_a_border(frames: list[bytes]) -> None:
    stream, splitter, found, at = wire(frames), FrameSplitter(FRAME_BYTES_MAX), [], 0
    while at < len(stream):
        piece = stream[at : at + splitter.missing]
        at += len(piece)
        completed = splitter.feed(piece)
        assert len(completed) <= 1
        found += completed
    assert found == frames


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
def test_garbage_is_never_an_exception(pieces: list[bytes]) -> None:
    splitter = FrameSplitter(100)
    for piece in pieces:
        for frame in splitter.feed(piece):
            assert 1 <= len(frame) <= 100


@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("pieces", [1, 4])
def test_HX_1_a_wrong_length_is_told_at_the_header_and_nothing_is_kept(length: int, pieces: int) -> None:
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    header = length.to_bytes(4, "big")
    assert splitter.feed(wire([b"good"])) == [b"good"]
    for i in range(pieces):
        assert splitter.feed(header[i * 4 // pieces : (i + 1) * 4 // pieces]) == []
    assert splitter.error is not None
    assert f"a frame of {length} bytes" in splitter.error
    assert not splitter.partial
    assert splitter.feed(wire([b"behind the fault"])) == []
    assert not splitter.partial


def test_frames_before_the_fault_in_the_same_read_are_given_out() -> None:
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    assert splitter.feed(wire([b"1", b"2"]) + b"\0\0\0\0" + wire([b"3"])) == [b"1", b"2"]
    assert splitter.error is not None


def test_a_limit_may_rise_between_frames() -> None:
    splitter = FrameSplitter(4)
    assert splitter.feed(encode_frame(b"1234", 4)) == [b"1234"]
    splitter.frame_bytes_max = 8
    assert splitter.feed(encode_frame(b"12345678", 8)) == [b"12345678"]


def test_partial_tells_a_frame_that_has_begun() -> None:
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    states = [splitter.partial]
    for piece in (b"\0", b"\0\0\1", b"x"):
        splitter.feed(piece)
        states.append(splitter.partial)
    assert states == [False, True, True, False]


@pytest.mark.parametrize("frame", [b"", b"12345"])
def test_what_the_other_end_would_refuse_is_not_encoded(frame: bytes) -> None:
    with pytest.raises(BadArgumentsError, match="1 to 4 are allowed"):
        encode_frame(frame, 4)
