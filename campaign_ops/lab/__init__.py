"""A platform to try campaign_ops on: servers, a small shop, the demo and the drill. Nothing outside imports it."""
