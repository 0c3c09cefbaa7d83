"""The ports that an application may bring itself: ``Config(transport=..., log=...)``. Their contracts stand on the classes."""

from .log.base import Log as Log
from .log.base import RecordReader as RecordReader
from .log.base import SnapshotReader as SnapshotReader
from .log.base import SnapshotWriter as SnapshotWriter
from .transport.base import Link as Link
from .transport.base import LinkError as LinkError
from .transport.base import Transport as Transport
