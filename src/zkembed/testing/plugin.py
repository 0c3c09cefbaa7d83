"""The pytest plugin; see zkembed.testing."""
