"""Paths of znodes: which are allowed, and taking them apart.

ZooKeeper's rules (PathUtils.validatePath): absolute, no trailing "/", no empty, "." or ".." element, no control, surrogate,
private-use or special characters. Characters above U+FFFF are surrogate pairs to ZooKeeper and refused with them. A bound
on the length is ours: ``parents=True`` would else make a tree of quadratic size from one small entry.
"""

from __future__ import annotations

import re

from ..errors import BadArgumentsError

ROOT = "/"
RESERVED = "/zookeeper"
PATH_CHARS_MAX = 4096
SEQUENCE_DIGITS = 10
# The longest suffix of a sequential create: a 63-bit number.
SEQUENCE_CHARS_MAX = 19

_FORBIDDEN = r"\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff"
_ELEMENT = rf"(?!\.{{1,2}}(?:/|\Z))[^/{_FORBIDDEN}]+"
_VALID = re.compile(rf"/(?:{_ELEMENT}(?:/{_ELEMENT})*)?").fullmatch
_SEQUENCE = re.compile(rf"[0-9]{{{SEQUENCE_DIGITS},}}\Z")
_FORBIDDEN_CHAR = re.compile(rf"[{_FORBIDDEN}]")


def check_path(path: str, *, sequential: bool = False) -> None:
    """Raise BadArgumentsError, naming the offending index, unless ``path`` is allowed (A2).

    sequential: of a sequential create, which appends digits: it may then end in "/", or in "." and "..".
    """
    if not sequential and type(path) is str and len(path) <= PATH_CHARS_MAX and _VALID(path) is not None:
        return
    if not isinstance(path, str):
        raise BadArgumentsError(f"a path must be str, not {type(path).__name__}")
    whole, chars_max = (path + "1", PATH_CHARS_MAX - SEQUENCE_CHARS_MAX) if sequential else (path, PATH_CHARS_MAX)
    if len(path) > chars_max:
        raise BadArgumentsError(f"path {path!r:.60}...: index {chars_max}: longer than {chars_max} characters")
    if _VALID(whole) is None:
        index, reason = find_fault(whole)
        raise BadArgumentsError(f"path {path!r:.200}: index {index}: {reason}")


def find_fault(path: str) -> tuple[int, str]:
    """Index and description of what is wrong with a path that is not allowed."""
    if not path.startswith("/"):
        return 0, "must begin with '/'"
    start = 1
    for element in path[1:].split("/"):
        if forbidden := _FORBIDDEN_CHAR.search(element):
            return start + forbidden.start(), f"character U+{ord(forbidden.group()):04X} is not allowed"
        if element in (".", ".."):
            return start, f"relative element {element!r} is not allowed"
        if not element and start == len(path):
            return start - 1, "must not end in '/'"
        if not element:
            return start, "empty element"
        start += len(element) + 1
    raise AssertionError(f"nothing is wrong with {path!r}")


def check_writable(path: str, *, deleting: bool = False) -> None:
    """Raise BadArgumentsError if no client may write there (A3): "/" cannot be deleted, "/zookeeper" and below not written."""
    if path.startswith(RESERVED) and (len(path) == len(RESERVED) or path[len(RESERVED)] == "/"):
        raise BadArgumentsError(f"path {path!r}: {RESERVED} and what is below it are read-only")
    if deleting and path == ROOT:
        raise BadArgumentsError("path '/': the root cannot be deleted")


def parent_of(path: str) -> str:
    """The path one level up; of "/a/", the path of a sequential create without a prefix, it is "/a". The root's is itself."""
    return path[: path.rindex("/")] or ROOT


def name_of(path: str) -> str:
    """The last element; "" for the root."""
    return path[path.rindex("/") + 1 :]


def join(parent: str, name: str) -> str:
    return ROOT + name if parent == ROOT else f"{parent}/{name}"


def format_sequence(number: int) -> str:
    """The suffix of a sequential znode: zero-padded to ten digits, longer where it must be (A8)."""
    return f"{number:0{SEQUENCE_DIGITS}d}"


def is_sequence_of(path: str, stem: str) -> bool:
    """Whether a sequential create of ``stem`` could have made ``path``."""
    return path.startswith(stem) and _SEQUENCE.fullmatch(path, len(stem)) is not None


def sequence_number(name_or_path: str) -> int:
    """The counter in a sequential znode's name; sort by this, not by the name (A8).

    All trailing digits count, so that order is kept beyond 10 digits; let a prefix not end in a digit. BadArgumentsError
    if there are fewer than ten.
    """
    found = _SEQUENCE.search(name_or_path)
    if found is None:
        raise BadArgumentsError(f"{name_or_path!r} does not end in a sequence number of {SEQUENCE_DIGITS} or more digits")
    return int(found.group())
