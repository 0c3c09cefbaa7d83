"""CBOR as zkembed allows it, and nothing more: the one place where bytes become values.

Whatever comes from a peer or a disk is decoded here. Definite lengths, no tags, at most ``DEPTH_MAX`` deep, no
duplicate keys (rule N-2). cbor2 acts on the tags it knows before ``tag_hook`` is asked, and ignores trailing bytes;
both are closed here. Which values may stand where (schemas) is the business of the rooms that own the messages.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, NoReturn

import cbor2

from .errors import DecodeError

DEPTH_MAX = 8
# Every tag that cbor2 6.x decodes by itself; a tag outside this list meets ``tag_hook``.
KNOWN_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


def _refuse(*_: object) -> NoReturn:
    raise cbor2.CBORDecodeError("tags are not allowed")


_STRICT: dict[str, Any] = {
    "tag_hook": _refuse,
    "semantic_decoders": dict.fromkeys(KNOWN_TAGS, _refuse),
    "max_depth": DEPTH_MAX,
    "allow_indefinite": False,
    "allow_duplicate_keys": False,
    "strict_hashable_types": True,
}

encode = cbor2.dumps


def decode(data: bytes) -> Any:
    """The one value that ``data`` holds, with no byte left over. Raises DecodeError, whatever the bytes."""
    source = BytesIO(data)
    try:
        value = cbor2.CBORDecoder(source, **_STRICT).decode()
    except Exception as error:
        raise DecodeError(f"malformed CBOR: {error}") from error
    if source.tell() != len(data):
        raise DecodeError(f"{len(data) - source.tell()} bytes behind the CBOR value")
    return value


def decode_prefix(data: bytes) -> Any:
    """Like ``decode`` for bytes whose length a checksum or chain already vouches for: trailing bytes go unnoticed.

    Half the price of ``decode``; used once for each record and entry.
    """
    try:
        return cbor2.loads(data, **_STRICT)
    except Exception as error:
        raise DecodeError(f"malformed CBOR: {error}") from error
