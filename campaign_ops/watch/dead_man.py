"""The dead man's switch: an address outside that is called only while all is well.

The receiver (Healthchecks, Dead Man's Snitch, a cron monitor) raises the alarm when the calls stop: so the death of the
watcher, of its host or of its network is noticed where none of them has a part.
"""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from http.client import HTTPException

from pydantic import SecretStr

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5


def ping(url: SecretStr) -> bool:
    """Call the address; whether it answered. The address is a secret and is not logged.

    A call that fails is logged and not repeated: the next tick is the next try.
    """
    try:
        with urllib.request.urlopen(url.get_secret_value(), timeout=TIMEOUT_SECONDS):  # noqa: S310 - checked by settings
            return True
    except urllib.error.HTTPError as error:
        log.warning("the dead man's switch answered %d", error.code)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None)
        log.warning("the dead man's switch did not answer: %s", type(reason or error).__name__)
    return False
