"""What people and machines speak to: the command line and all that is served over HTTP. Never imports Dagster.

- ``shapes``, ``documents``: the JSON documents that ``--json`` prints and the HTTP API answers with
- ``outcomes``: how each line of a plan ended
- ``metrics``, ``logs``: Prometheus' text, and the lines of processes that run on
- ``probe``: the health check of container engines, a program of its own
- ``cli``, ``http``: the faces themselves
"""
