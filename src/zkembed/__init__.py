"""zkembed: in-process replicated state. See README.md and ARCHITECTURE.md."""
