"""One watched application: its database, its queue, its names. Knows how to read and write, never decides."""
