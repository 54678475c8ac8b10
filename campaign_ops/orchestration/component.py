"""The definitions of a deployment as a component: `type: campaign_ops.CampaignOps` in a project's `defs.yaml`."""

import dagster as dg
from pydantic import Field

from campaign_ops.orchestration.factory import definitions
from campaign_ops.orchestration.names import DEFAULT_PREFIX


class CampaignOps(dg.Component, dg.Model, dg.Resolvable):
    """Finds, explains and repairs stuck bulk-messaging campaigns, on every platform of a configuration file."""

    config: str | None = Field(
        default=None,
        description=(
            "The configuration file, relative to this directory. Default: as the command line finds it, from"
            " CAMPAIGN_OPS_CONFIG on."
        ),
    )
    prefix: str = Field(default=DEFAULT_PREFIX, description="Stands before every name and asset key; may be empty.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of all platforms; a mistake in the file becomes a failing check."""
        return definitions(None if self.config is None else context.path / self.config, prefix=self.prefix)
