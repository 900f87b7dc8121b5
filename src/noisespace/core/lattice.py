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
HALF_MARGIN = 2  # where the network computes in half precision: more would be seen
# The spacing where the spread asks for none larger: far above the rounding of a mean, far below
# what a picture of 8 bits shows.
USUAL = {torch.float32: 2.0**-10, torch.float64: 2.0**-36}


def snap(x: Tensor, spacing: float) -> Tensor:
    """The nearest states on the lattice; x itself where the spacing is 0."""
    return torch.round(x / spacing) * spacing if spacing else x


def usual_spacing(state: torch.dtype, network: torch.dtype, w: float) -> float:
    """The lattice before a spread is measured, for the dtypes of states and network.

    A network in half precision gives mostly equal and now and then very different numbers in
    another batch, which no single measurement finds: one unit in their last place, weighted as
    guidance w weights two predictions, is what a lattice has to bear.
    """
    rounding = torch.finfo(network).eps * (abs(w) + abs(1 - w))
    return max(USUAL[state], power_of_two(rounding))


def least_margin(network: torch.dtype) -> int:
    """How many times the spread of a mean has to go into the spacing."""
    return MARGIN if torch.finfo(network).bits >= 32 else HALF_MARGIN


def power_of_two(value: float) -> float:
    """The next one upwards."""
    return 2.0 ** math.ceil(math.log2(value))


def margin(spacing: float, spread: float) -> int:
    """How many times the spread goes into the spacing, as a power of two (in ``Code.info``)."""
    return 2 ** max(0, math.floor(math.log2(spacing / spread)))
