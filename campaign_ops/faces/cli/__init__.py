"""The command line, ``campaign-ops``. It works while Dagster is down.

The frame, which no new command changes:

- ``app``: turns a function into a command (`command`), and the program's own help
- ``runner``: runs a command on its platforms: settings, connections, errors, JSON, exit code
- ``screen``: everything printed for a person: colours, columns, escapes, logging
- ``progress``: what takes longer than two seconds, on a terminal
- ``exit_codes``: the numbers that the program exits with, and their meanings
- ``plugins``: commands that entry points add, such as those of the lab
- ``describe``: docs/cli.md, generated from the program

The commands, one module each:

- ``sweep``: ``reconcile`` and ``plan``
- ``status``, ``workers``, ``report``, ``history``, ``metrics``: read only
- ``incidents``, ``notify``: what needs a person, and who is told
- ``fixes``: the manual fixes
- ``init``, ``doctor``, ``migrate``, ``config``, ``tokens``: setting up

Add here what reads options and prints answers. Not here: decisions, statements and anything that another face needs;
those belong in ``sweep``, ``fixes`` and ``queries``.
"""

# Importing a module registers its commands. Their order here is the order in the help.
from campaign_ops.faces.cli import sweep, status, workers, report, history, metrics, incidents, notify  # noqa: F401, I001
from campaign_ops.faces.cli import fixes, doctor, migrate, config, tokens, plugins  # noqa: F401
from campaign_ops.faces.cli.app import app, main

__all__ = ["app", "main"]
