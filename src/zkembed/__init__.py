"""zkembed: in-process replicated state.

``async with zkembed.Node(config) as zk:`` makes this process one replica of an ensemble: writes are ordered by Zab and on a
majority's disks before they are answered, reads come from this process's memory, and sessions, ephemerals, watches
and recipes are trio-native calls. See README.md.
"""

from . import abc as abc
from .client import Client as Client
from .config import Config as Config
from .endpoint import NodeStatistics as NodeStatistics
from .endpoint import SessionState as SessionState
from .errors import BadArgumentsError as BadArgumentsError
from .errors import BadVersionError as BadVersionError
from .errors import ConfigError as ConfigError
from .errors import CorruptLogError as CorruptLogError
from .errors import DataTooLargeError as DataTooLargeError
from .errors import InternalError as InternalError
from .errors import LimitReachedError as LimitReachedError
from .errors import LockBusyError as LockBusyError
from .errors import LockLostError as LockLostError
from .errors import NoChildrenForEphemeralsError as NoChildrenForEphemeralsError
from .errors import NodeExistsError as NodeExistsError
from .errors import NodeFailedError as NodeFailedError
from .errors import NodeStartError as NodeStartError
from .errors import NoNodeError as NoNodeError
from .errors import NotEmptyError as NotEmptyError
from .errors import SessionExpiredError as SessionExpiredError
from .errors import StorageError as StorageError
from .errors import TransactionError as TransactionError
from .errors import ZkError as ZkError
from .node import Node as Node
from .node import serve as serve
from .recipes import Election as Election
from .recipes import Held as Held
from .recipes import Lock as Lock
from .session import Session as Session
from .transaction import Pending as Pending
from .transaction import Transaction as Transaction
from .tree.events import EventKind as EventKind
from .tree.events import WatchedEvent as WatchedEvent
from .tree.path import sequence_number as sequence_number
from .tree.stat import Created as Created
from .tree.stat import Stat as Stat
from .tree.stat import Znode as Znode
from .watching import EventStream as EventStream
from .watching import StreamStatistics as StreamStatistics
from .watching import Watch as Watch
from .zab.effects import Role as Role

__version__ = "0.1.0"
