"""What an object would do if one call came after the other: the port for it, and two that are ready.

A state is a value: hashable, compared by ``==``, never changed in place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from ..errors import BadArgumentsError

State = TypeVar("State", bound=Hashable)
Call = TypeVar("Call")
Result = TypeVar("Result")


class Unknown(Enum):
    """The type of ``UNKNOWN``."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return self.name


UNKNOWN: Final = Unknown.UNKNOWN
"""Stands for the result of a call that never returned: any result will do."""


class Model(ABC, Generic[State, Call, Result]):
    """The sequential object that a history is compared with.

    Its methods are functions of their arguments. What they raise leaves ``check_linearizable`` as it is.
    """

    @abstractmethod
    def initial(self) -> State:
        """The state before the first call; of each key, where calls have keys."""

    @abstractmethod
    def step(self, state: State, call: Call, result: Result | Literal[Unknown.UNKNOWN]) -> Iterable[State]:
        """Every state in which ``call``, made in ``state``, may leave the object if it returns ``result``; none if it cannot return that.

        Where the object has a choice, give all it may choose.
        """

    def key(self, call: Call) -> Hashable:
        """Which of many independent objects the call is about. Each is checked alone, with ``initial`` as its state, which is far quicker.

        All calls are about one object unless this is overridden.
        """
        return None

    def pure(self, call: Call, result: Result | Literal[Unknown.UNKNOWN]) -> bool:
        """Whether the call, if it returns ``result``, never changes the state, whatever that is, as a read.

        Said where it is so it saves most of the search; said of a call that may change something it makes the check wrong.
        """
        return False


class SequentialModel(Model[State, Call, Result]):
    """A model with one result for each call in each state."""

    @abstractmethod
    def apply(self, state: State, call: Call) -> tuple[State, Result]:
        """The state behind the call, and what it returns."""

    def step(self, state: State, call: Call, result: Result | Literal[Unknown.UNKNOWN]) -> Iterable[State]:
        """The state behind the call, if ``result`` is what it returns."""
        after, expected = self.apply(state, call)
        return (after,) if result is UNKNOWN or result == expected else ()


Words: TypeAlias = tuple[Any, ...]
"""A call of the ready models: its name and its arguments, hashable ones."""


class Register(SequentialModel[Hashable, Words, object]):
    """One value. Calls: ``("read",)`` returns it, ``("write", new)`` returns None, ``("cas", old, new)`` returns whether it was ``old``.

    initial: the value before the first call.
    """

    def __init__(self, initial: Hashable = None) -> None:
        self._initial = initial

    def initial(self) -> Hashable:
        """The value before the first call."""
        return self._initial

    def pure(self, call: Words, result: object) -> bool:
        """A read, and a cas that did not happen."""
        return call[:1] == ("read",) or (call[:1] == ("cas",) and result is False)

    def apply(self, state: Hashable, call: Words) -> tuple[Hashable, object]:
        """Raises BadArgumentsError for a call that a register does not have."""
        match call:
            case ("read",):
                return state, state
            case ("write", new):
                return new, None
            case ("cas", old, new):
                return (new, True) if state == old else (state, False)
        raise BadArgumentsError(f"a register has ('read',), ('write', new) and ('cas', old, new), not {call!r}")


class KeyValue(SequentialModel[Hashable, Words, object]):
    """A map, checked key by key. A key that is not there has the value None.

    Calls: ``("get", key)`` returns the value, ``("put", key, value)`` None, ``("delete", key)`` whether there was a value,
    ``("cas", key, old, new)`` whether the value was ``old``.
    """

    def initial(self) -> Hashable:
        """No value."""
        return None

    def key(self, call: Words) -> Hashable:
        """The call's key. Raises BadArgumentsError for a call that has none."""
        if len(call) < 2:
            raise BadArgumentsError(f"a call of a map names a key; {call!r} does not")
        key: Hashable = call[1]
        return key

    def pure(self, call: Words, result: object) -> bool:
        """A get, a delete of nothing, and a cas that did not happen."""
        return call[0] == "get" or (call[0] in ("delete", "cas") and result is False)

    def apply(self, state: Hashable, call: Words) -> tuple[Hashable, object]:
        """Raises BadArgumentsError for a call that a map does not have."""
        match call:
            case ("get", _):
                return state, state
            case ("put", _, value):
                return value, None
            case ("delete", _):
                return None, state is not None
            case ("cas", _, old, new):
                return (new, True) if state == old else (state, False)
        raise BadArgumentsError(f"a map has get, put, delete and cas, each with a key, not {call!r}")
