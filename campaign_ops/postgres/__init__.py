"""The platform's database: connection, catalogue, and every statement on the watched tables."""
