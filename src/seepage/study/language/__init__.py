"""The study of language models: every attack that applies to texts, by epoch and by copies."""
