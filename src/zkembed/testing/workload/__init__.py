"""Sessions that do all that sessions can do: drawn from a seed, driven without trio, recorded. ``workload.Workload`` is the whole."""
