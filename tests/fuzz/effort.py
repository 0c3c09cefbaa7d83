"""How much is tried, and how much memory that may take.

``make test`` takes the same few hundred mutants each time; ``make fuzz SEED=7 ITERATIONS=100000`` takes as many as are asked for.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from zkembed.errors import ZkError

from .mutation import Mutant

T = TypeVar("T")

# A byte of CBOR can be an empty map: that many bytes of Python.
BYTES_A_BYTE = 128
BYTES_ALWAYS = 256 * 1024
# What a peer says is not for it to write into our log.
MESSAGE_CHARACTERS_MAX = 1000


def _number(name: str, default: int, least: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise pytest.UsageError(f"{name}={text!r}: an integer of at least {least} was expected")
    return int(text)


SEED = _number("FUZZ_SEED", 20, 0)
ITERATIONS = _number("FUZZ_ITERATIONS", 250, 1)


@contextmanager
def watching_memory() -> Iterator[None]:
    """Inside, ``refuses_or_reads`` can tell what an input costs."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def refuses_or_reads(read: Callable[[bytes], T], mutant: Mutant, *errors: type[ZkError]) -> T | None:
    """What ``read`` makes of it; None if it raises one of ``errors``. Anything else, or too much memory, fails the test."""
    value, text = None, ""
    base = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    try:
        value = read(mutant.data)
    except errors as error:
        text = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}; {mutant}") from error
    assert len(text) <= MESSAGE_CHARACTERS_MAX, f"an error of {len(text)} characters goes to the log: {text[:200]}; {mutant}"
    used = tracemalloc.get_traced_memory()[1] - base
    allowed = BYTES_A_BYTE * len(mutant.data) + BYTES_ALWAYS
    assert used <= allowed, f"{used} bytes of memory, {allowed} allowed; {mutant}"
    return value
