"""One model behind HTTP: the service of contracts.md made of a `models.base.Family`.

    create_app(host)        a FastAPI application around a `Host` (a model in this process)
    run_service(options)    the same with a socket, signals and a graceful end: `tonewheel service NAME`

A request's way: `edge` (ids, trace, key, host, metrics, the last net for errors) → `body` (capped, parsed,
422) → `host` (a slot, or 503) → `work` (the worker thread; progress, deadline, cancel) → `answer` (JSON,
bytes or links) → the client, or `events` for `/predict/stream`.

Other rooms reach a service by HTTP only; the addresses:

    POST /predict          JSON → JSON; bytes when `Accept` asks for audio/wav|flac|mpeg|ogg|opus
    POST /predict/stream   the same as server-sent events: `progress {stage, fraction, eta_s}`, `audio`, then
                           one `result` or `error {detail, status}`. With an audio type in `Accept`, files are
                           not in the result but listed in its `files` with a `url` to fetch as bytes. With
                           `Accept: audio/wav` alone: the WAV itself, sent while it is made
    GET, DELETE /v1/files/{id}   those bytes (Range), kept ten minutes; deleting lets go earlier
    GET /health /healthz /readyz /metrics /v1/metadata /openapi.json

Started by a program: `python -m tonewheel.serving NAME --port 0 --json` (the options of `tonewheel service`; tied
to its parent by `tonewheel.lifeline`); the first line on standard output is `{"event": "listening", "url" or "uds",
"pid", …}`. It listens before the model has loaded: `/readyz` tells.
SIGTERM drains: the running request ends within `TONEWHEEL_DRAIN_S`, new ones get 503, exit code 0.
"""
