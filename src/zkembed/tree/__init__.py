"""The replicated state machine: znodes, sessions, watches. Pure: values in, values out."""
