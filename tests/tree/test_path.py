"""Paths (features A2, A3, A8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkembed.errors import BadArgumentsError
from zkembed.tree.path import (
    PATH_CHARS_MAX,
    check_path,
    check_writable,
    format_sequence,
    join,
    name_of,
    parent_of,
    sequence_number,
)


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a/b", "/.a", "/..a", "/a.", "/a..b", "/...", "/ ", "/~", "/ä/日本", "/\xa0", "/\uf900", "/\uffef"]
)
def test_allowed_paths_pass(path: str) -> None:
    """A2."""
    check_path(path)


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("", 0),
        ("a", 0),
        ("a/b", 0),
        ("/a/", 2),
        ("//", 1),
        ("//a", 1),
        ("/a//b", 3),
        ("/.", 1),
        ("/..", 1),
        ("/a/./b", 3),
        ("/a/../b", 3),
        ("/a/..", 3),
        ("/a\0b", 2),
        ("/\x01", 1),
        ("/ab\x1f", 3),
        ("/\x7f", 1),
        ("/\x9f", 1),
        ("/\ud800", 1),
        ("/\uf8ff", 1),
        ("/\ufff0", 1),
        ("/\uffff", 1),
        ("/\U0001f600", 1),
        ("/" + "a" * PATH_CHARS_MAX, PATH_CHARS_MAX),
    ],
)
def test_a_refused_path_is_told_where(path: str, index: int) -> None:
    """A2: the error names the offending index."""
    with pytest.raises(BadArgumentsError, match=rf"index {index}: "):
        check_path(path)


def test_a_path_must_be_text() -> None:
    with pytest.raises(BadArgumentsError, match="not bytes"):
        check_path(b"/a")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/", "/a/", "/a", "/a/.", "/a/.."])
def test_a_sequential_create_may_end_where_its_number_begins(path: str) -> None:
    """A2: the number is appended before the path is judged, as in ZooKeeper."""
    check_path(path, sequential=True)


@pytest.mark.parametrize("path", ["", "a", "//", "/a//", "/../"])
def test_a_sequential_create_may_not_do_more(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        check_path(path, sequential=True)


def plainly_allowed(path: str) -> bool:
    """ZooKeeper's rules written down once more, the slow way."""
    if path == "/":
        return True
    bad = [(0x00, 0x1F), (0x7F, 0x9F), (0xD800, 0xF8FF), (0xFFF0, 0x10FFFF)]
    return (
        path.startswith("/")
        and all(element not in ("", ".", "..") for element in path[1:].split("/"))
        and not any(low <= ord(char) <= high for char in path for low, high in bad)
    )


@given(st.text(st.sampled_from("/./.ab\0\x1f\x7f\xa0\ud800\uf900\uffef\ufff0"), max_size=12).map(lambda text: "/" + text))
def test_the_rules_are_zookeepers_and_no_refusal_is_without_its_place(path: str) -> None:
    """A2, both ways: what passes is allowed, what does not is explained."""
    if plainly_allowed(path):
        check_path(path)
    else:
        with pytest.raises(BadArgumentsError, match=r"index \d+: "):
            check_path(path)


@pytest.mark.parametrize("path", ["/zookeeper", "/zookeeper/config", "/zookeeper/quota/a"])
def test_the_reserved_subtree_is_read_only(path: str) -> None:
    """A3."""
    with pytest.raises(BadArgumentsError, match="read-only"):
        check_writable(path)


def test_the_root_can_be_written_but_not_deleted() -> None:
    """A3."""
    check_writable("/")
    check_writable("/zookeepers")
    with pytest.raises(BadArgumentsError, match="root"):
        check_writable("/", deleting=True)


def test_taking_paths_apart_and_together() -> None:
    assert [parent_of(path) for path in ("/", "/a", "/a/b", "/a/b/c", "/a/")] == ["/", "/", "/a", "/a/b", "/a"]
    assert [name_of(path) for path in ("/", "/a", "/a/b")] == ["", "a", "b"]
    assert [join("/", "a"), join("/a", "b")] == ["/a", "/a/b"]


@given(st.integers(0, 2**63 - 1))
def test_sequence_numbers_come_back_whatever_their_size(number: int) -> None:
    """A8: at least ten digits, more where needed, compared as integers."""
    name = "job-" + format_sequence(number)
    assert len(name) >= 14
    assert sequence_number(name) == sequence_number(f"/a/{name}") == number


@pytest.mark.parametrize("name", ["", "job", "job-123456789", "0000000001x", "٠١٢٣٤٥٦٧٨٩"])
def test_a_name_without_a_sequence_number_is_refused(name: str) -> None:
    with pytest.raises(BadArgumentsError):
        sequence_number(name)
