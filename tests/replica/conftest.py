"""Every scenario of this room is run with several seeds."""

from tests.seeds import add_seeds as pytest_generate_tests
from tests.seeds import another_seed

__all__ = ["another_seed", "pytest_generate_tests"]
