"""Defences side by side: what each costs and what it saves, and which statements hold."""
