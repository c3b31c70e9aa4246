"""The public HTTP API on 127.0.0.1:8900: it takes orders, tells how they go and hands out what was made.

It computes nothing and never waits on its event loop: the database, the storage and the planner are asked in
threads. A request's way: `access` (host, origin, request id, metrics: the layer of `serving.edge`) → a route
of `routes/` (one file a subject) → `auth` (API key and scope) → `bodies` (capped, parsed, 422) → the `backend`
(`jobs.JobStore`, `library.Library`, the fleet) → `views` (what a client sees).

    create_app(backend)     the FastAPI application
    Backend.open(…)         what it works with: one database, one library, one job store
    supervise.run(options)  `tonewheel serve`: this gateway and its workers as child processes
"""
