"""The watched platform of the lab: a small shop that sends bulk messages.

`schema` makes its tables, `row_reader` and `row_writer` read and write their rows for tests and scenarios, `queue` is
its BullMQ queue. Its application is `application` (statements while it sends), `worker` and `node_worker` (processes
that take jobs), `worker_command` and `worker_process` (their command line, their start and end), and `provider`, which
counts double sends. `fingerprint` compares whole contents. A further accident goes into `lab.demo` or `lab.drill`.
"""
