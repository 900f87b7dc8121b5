"""Verdicts on published claims: computed from numbers by the rule that is written beside them.

A rule is a list of checks, each a figure that must lie above or below a bound. A figure with an
interval meets its bound where the whole interval does, and misses it where the whole interval is on
the other side; an interval that the bound cuts decides nothing. A claim holds where all checks are
met, does not hold where one is missed, and is otherwise not decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from noisespace.study.measure import Row, words

# images without which a share decides nothing: fewer often agree by chance, with no interval at all
ENOUGH = 12
HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided: n too small"


@dataclass(frozen=True)
class Check:
    """One figure of a rule: ``found`` (mean, low, high, n) must be ``above``, ``below`` a bound.

    ``unit`` and ``form``: how the figure is written.
    """

    name: str
    found: Row
    above: float | None = None
    below: float | None = None
    unit: str = ""
    form: str = ".2f"

    @property
    def met(self) -> bool | None:
        """None where the interval decides nothing, or where nothing was measured."""
        low, high = self.found["low"], self.found["high"]
        if math.isnan(low) or math.isnan(high):
            return None
        sides = []
        if self.above is not None:
            sides.append(True if low > self.above else None if high > self.above else False)
        if self.below is not None:
            sides.append(True if high < self.below else None if low < self.below else False)
        return every(sides)

    @property
    def rule(self) -> str:
        """The condition in words."""
        bounds = [("above", self.above), ("below", self.below)]
        said = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        return f"{self.name} {said}{self.unit and ' ' + self.unit}"

    def __str__(self) -> str:
        return f"{self.name} {words(self.found, self.form, self.unit)}"

    def record(self) -> Row:
        """The figure and its bounds, as JSON."""
        bounds = {"above": self.above, "below": self.below, "unit": self.unit, "met": self.met}
        return {**self.found, **bounds}


def exact(value: float, n: int = 1) -> Row:
    """A figure without an interval: a count, an extreme, a test's p."""
    return {"mean": value, "low": value, "high": value, "n": n}


def every(sides: Sequence[bool | None]) -> bool | None:
    """Whether all are met: False where one is missed, None where one is undecided."""
    return False if False in sides else None if None in sides else True


def claim(
    name: str, checks: Sequence[Check], n: int, *, least: int = 3, part: str = "", rule: str = ""
) -> Row:
    """The verdict on a claim as JSON, with its rule, its numbers and its n.

    ``least``: fewer images decide nothing; ``part``: which half of the claim; ``rule``: what the
    checks alone do not say.
    """
    met = every([check.met for check in checks]) if n >= least and checks else None
    conditions = "; ".join(check.rule for check in checks)
    few = f"at least {least} images" if least > 1 else ""
    return {
        "id": name,
        "part": part,
        "verdict": OPEN if met is None else HOLDS if met else FAILS,
        "rule": "; ".join(text for text in (rule, conditions, few) if text),
        "words": "; ".join(str(check) for check in checks),
        "numbers": {check.name: check.record() for check in checks},
        "n": n,
    }


def combined(claims: Sequence[Row]) -> dict[str, str]:
    """The verdict of every id, over all of its parts."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(one["id"] for one in claims):
        verdicts = {one["verdict"] for one in claims if one["id"] == name}
        found[name] = next(v for v in (FAILS, OPEN, HOLDS) if v in verdicts)
    return found
