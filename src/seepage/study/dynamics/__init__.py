"""The study of dynamics: fleets that differ in one factor, analysed alike; claims B1 to B8."""
