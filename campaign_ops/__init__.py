"""campaign_ops: finds, explains and repairs stuck bulk-messaging campaigns."""

TYPE_CHECKING = False  # the one of typing takes 8 ms, in which Ctrl-C shows a traceback
__version__ = "0.1.0"  # the only place that says it: pyproject.toml reads it from here

if not TYPE_CHECKING:

    def __dir__():
        return [*globals(), "CampaignOps"]

    def __getattr__(name):
        """`type: campaign_ops.CampaignOps` in a project's defs.yaml: Dagster is imported only for those who ask."""
        if name != "CampaignOps":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415

        return import_module("campaign_ops.orchestration.component").CampaignOps
