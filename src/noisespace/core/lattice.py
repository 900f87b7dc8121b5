"""The lattice: states on multiples of a power of two, so that replays forget their rounding.

Algorithm 1 of arXiv 2304.06140 computes each state anew from its map, so that an inversion and its
replay round alike; that holds for bit-equal arithmetic alone, which the batch of an edit does not
have, and needs one evaluation after the other. With the source's states on a lattice of spacing q
the residuals can be computed in parallel: a replay rounds each corrected state to the lattice, and
whatever error is below q / 2 is erased at every step instead of amplified by the next ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MARGIN = 16  # times the measured spread of a mean: the least spacing
# The spacing where the spread asks for none larger: far above the rounding of a mean, far below
# what a picture of 8 bits shows.
USUAL = {torch.float32: 2.0**-10, torch.float64: 2.0**-36}


def snap(x: Tensor, spacing: float) -> Tensor:
    """The nearest states on the lattice; x itself where the spacing is 0."""
    return torch.round(x / spacing) * spacing if spacing else x


def spacing_for(spread: float, dtype: torch.dtype) -> float:
    """The lattice for means that differ by ``spread`` from one batch's shape to another's."""
    least = MARGIN * spread
    return max(USUAL[dtype], 2.0 ** math.ceil(math.log2(least)) if least > 0 else 0.0)


def margin(spacing: float, spread: float) -> int:
    """How many times the spread goes into the spacing, as a power of two (told in records)."""
    return 2 ** max(0, math.floor(math.log2(spacing / spread)))
