"""The drill: faults that operators fear, run on throw-away servers against the whole product, and a scoreboard."""
