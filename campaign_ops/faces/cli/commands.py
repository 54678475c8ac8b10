"""Every command, loaded: for what describes or tests them all."""

from campaign_ops.faces.cli.command import LOADED
from campaign_ops.faces.cli.program import INDEX, load
from campaign_ops.faces.cli.runner import Command

for _name in INDEX:
    load(_name)

_ORDER = list(INDEX)
COMMANDS: dict[str, Command] = dict(sorted(LOADED.items(), key=lambda item: _ORDER.index(item[0].split()[0])))
"""Every command by its name, in the order of the help; those of a group by both words."""
