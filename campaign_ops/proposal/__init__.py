"""A first draft of a platform's entry in the configuration, from what its database and its queue hold.

- ``propose``: reads both and makes the draft; start here
- ``tables``: which tables hold campaigns, recipients and reservations
- ``campaign``, ``recipient``, ``reservation``: their columns and words, with ``part`` and ``words``
- ``queue``: the queue, from its jobs
- ``draft``: the draft as YAML, with a comment where it is unsure

Names and words come from ``profile.habits``, statements from ``postgres.survey``. Nothing is changed. A word whose
meaning is not known stays out of every list, so that it blocks repairs instead of being guessed.
"""

from campaign_ops.proposal.draft import Draft, configuration
from campaign_ops.proposal.propose import Wish, propose

__all__ = ["Draft", "Wish", "configuration", "propose"]
