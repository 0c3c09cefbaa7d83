"""Coordination recipes: what applications build on a Client. They know nothing else, so they run on any."""

from .election import Election as Election
from .held import Held as Held
from .lock import Lock as Lock
