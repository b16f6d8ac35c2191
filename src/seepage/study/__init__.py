"""Studies: fleets or networks that differ in one factor, measured alike, and what they say."""
