"""Attacks by the names that a configuration or a command gives, the main one first."""

from __future__ import annotations

from seepage import attacks
from seepage.errors import InputError

__all__ = ["chosen_attacks"]


def chosen_attacks(
    names: list[str] | None, main: str, *, tokens: bool = False
) -> tuple[attacks.Attack, ...]:
    """Attacks by name, the main one first; all of the table when none are named.

    tokens: whether those on texts are of the table, see `seepage.tokens.holds_tokens`.
    """
    rest = names or [a.name for a in attacks.usual(tokens=tokens)]
    wanted = list(dict.fromkeys([main, *rest]))
    found = tuple(attacks.get(name) for name in wanted)
    told = [attack.name for attack in found]
    for name, own in zip(wanted, told, strict=True):
        if told.count(own) > 1:
            raise InputError(
                f"attacks: expected every attack once, got several called {own!r} (such as "
                f"{name}); leave all but one out, or rename them"
            )
    return found
