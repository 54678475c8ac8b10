"""Addresses of the operator's console, where one is configured. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True)
class Console:
    """The console at ``url``, an address without a query."""

    url: str

    def platform(self, platform: str) -> str:
        """The page of a platform's campaigns."""
        return f"{self._base}/campaigns?platform={quote(platform, safe='')}"

    def campaign(self, platform: str, campaign: str) -> str:
        """The page of one campaign."""
        return self._base + campaign_path(platform, campaign)

    @property
    def _base(self) -> str:
        # In Markdown a bracket would end the link, and a bar the cell.
        return quote(self.url.rstrip("/"), safe=":/@%~,+;=&")


def campaign_path(platform: str, campaign: str) -> str:
    """The page of one campaign. The id is in the query: browsers and proxies resolve ``..`` and ``//`` in a path."""
    return f"/campaigns/{quote(platform, safe='')}?{urlencode({'id': campaign}, quote_via=quote, safe='')}"
