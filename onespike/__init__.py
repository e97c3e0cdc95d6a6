"""OneSpike."""
