"""Our own tables in schema ``campaign_ops`` of the platform's database, and their migrations."""
