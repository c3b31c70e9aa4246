"""Which model runs where: the catalogue, pulled weights, model processes, device memory, remote services.

    fleet = Fleet()
    answer = fleet.call("composer", {"narrative": "…"}, accept="audio/flac")   # starts it, if need be
    fleet.close()                                                              # ends what it started

A model process is `tonewheel service NAME` on a loopback port: a fleet speaks HTTP with it and never
imports what it runs. `records` is what all fleets of one data directory share (processes, leases,
crashes), so that a worker, a gateway and `tonewheel ps` see the same models.
"""
