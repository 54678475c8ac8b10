"""campaign_ops: finds, explains and repairs stuck bulk-messaging campaigns."""
