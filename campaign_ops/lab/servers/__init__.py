"""Real servers for the demo, the drill, the benchmarks and the tests, from wheels where possible.

`postgres`, `redis` and `pgbouncer` hold a server each, `embedded` the first two together. They stand on `processes`
(child processes), `directories` (work directories), `scratch` (this process's directory under /tmp, and what dead
processes left), `unprivileged` (the user instead of root), `ports`,
`listening` and `waiting`. A further server goes into a file of
its own; the platform that runs on it belongs to `lab.shop`.
"""
