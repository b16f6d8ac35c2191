"""The study of layers: units trained, probed and attacked, and the claims A1 to A7 tested."""
