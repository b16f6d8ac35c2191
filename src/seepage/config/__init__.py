"""The frozen objects of every option: read from TOML, made in Python, sent to workers alike."""
