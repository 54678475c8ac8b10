"""Addresses of the operator's console, where one is configured. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Console:
    """The console at ``url``, an address without a query."""

    url: str

    def platform(self, platform: str) -> str:
        """The page of a platform's campaigns."""
        return f"{self._base}/campaigns?platform={quote(platform, safe='')}"

    def campaign(self, platform: str, campaign: str) -> str:
        """The page of one campaign."""
        return f"{self._base}/campaigns/{quote(platform, safe='')}/{quote(campaign, safe='')}"

    @property
    def _base(self) -> str:
        # In Markdown a bracket would end the link, and a bar the cell.
        return quote(self.url.rstrip("/"), safe=":/@%~,+;=&")
