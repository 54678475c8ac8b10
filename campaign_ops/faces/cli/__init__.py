"""The command line, ``campaign-ops``. It works while Dagster is down.

The frame, which no new command changes:

- ``program``: the list of all commands, the program's own help, and what imports a command that is called
- ``command``: turns a function into a command (`command`)
- ``runner``: runs a command on its platforms: settings, connections, errors, JSON, exit code
- ``screen``: everything printed for a person: colours, columns, escapes, logging
- ``progress``: what takes longer than two seconds, on a terminal
- ``exit_codes``: the numbers that the program exits with, and their meanings
- ``plugins``: commands that entry points add, such as those of the lab
- ``commands``, ``describe``: all commands loaded, and docs/cli.md, generated from them

The commands, one module each:

- ``sweep``: ``reconcile`` and ``plan``
- ``status``, ``workers``, ``report``, ``history``, ``metrics``: read only
- ``incidents``, ``notify``: what needs a person, and the notifications
- ``fixes``: the manual fixes
- ``init``, ``doctor``, ``migrate``, ``config``, ``tokens``: setting up

Add here what reads options and prints answers. Not here: decisions, statements and anything that another face needs;
those belong in ``sweep``, ``fixes`` and ``queries``.
"""

from campaign_ops.faces.cli.stopping import while_loading

with while_loading():
    from campaign_ops.faces.cli import plugins  # noqa: F401 - registers the commands of other packages
    from campaign_ops.faces.cli.program import app, main

__all__ = ["app", "main"]
