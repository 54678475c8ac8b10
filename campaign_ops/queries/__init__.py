"""What faces, checks and metrics read. Writes nothing."""
