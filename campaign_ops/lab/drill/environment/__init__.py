"""Everything that a drill runs on: servers, databases, workers, and what is done to them."""
