"""ClickHouse, embedded or as a server: one client, its schema, and its errors."""
