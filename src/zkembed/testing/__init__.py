"""For the tests of applications: a whole ensemble in memory, in virtual time, with faults at hand. Fixtures: see the pytest plugin."""

from .ensemble import Ensemble as Ensemble
from .ensemble import open_ensemble as open_ensemble
from .mortal import CrashedError as CrashedError
