"""The study of attacks: every attack on the same fleets, and which of them to run."""
