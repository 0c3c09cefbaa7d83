"""For the tests of applications: a whole ensemble in memory, in virtual time, with faults at hand. Fixtures: see the pytest plugin."""

from .ensemble import Ensemble as Ensemble
from .ensemble import open_ensemble as open_ensemble
from .linearizability import Linearizability as Linearizability
from .linearizability import check_linearizable as check_linearizable
from .models import UNKNOWN as UNKNOWN
from .models import KeyValue as KeyValue
from .models import Model as Model
from .models import Register as Register
from .models import SequentialModel as SequentialModel
from .mortal import CrashedError as CrashedError
from .operations import Operation as Operation
from .operations import Recorder as Recorder
