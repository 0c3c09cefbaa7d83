"""A simulated world for pure machines: time, links, disks, processes and faults on one heap of events, from one seed. No trio, no clock."""
