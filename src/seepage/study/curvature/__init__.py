"""The study of input loss curvature: units that each write one small result, claims C1 to C8."""
