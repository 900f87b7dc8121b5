"""What a network says of a state, in both views at once: the clean image and the noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from noisespace.core.grid import Level
from noisespace.errors import InputError

Kind = Literal["epsilon", "v_prediction", "sample", "flow"]


@dataclass(frozen=True)
class Prediction:
    """Both views of one network output at a state x = alpha * x0 + sigma * eps.

    ``x0``, ``eps``: (rows, c, h, w), in the state's dtype. Affine mixtures whose weights sum to 1
    (classifier-free guidance) keep the two views consistent.
    """

    x0: Tensor
    eps: Tensor

    @classmethod
    def from_output(cls, kind: Kind, output: Tensor, x: Tensor, level: Level) -> Prediction:
        """Reads a network's output: eps, v (arXiv 2202.00512), x0 ("sample") or flow (eps - x0).

        Divides by alpha^2 + sigma^2 (by alpha + sigma for flow), which are 1 on the network's own
        path, so that the views are right on any path.
        """
        alpha, sigma = level.amplitudes(x)
        if kind == "epsilon":
            return cls.from_eps(output, x, level)
        if kind == "v_prediction":
            norm = alpha**2 + sigma**2
            return cls((alpha * x - sigma * output) / norm, (sigma * x + alpha * output) / norm)
        if kind == "sample":
            if not bool((level.sigma > 0).all()):
                raise InputError(
                    "a network that predicts x0 says nothing of the noise at a clean level: "
                    'use told="upper" for this model'
                )
            return cls(output, (x - alpha * output) / sigma)
        if kind == "flow":
            norm = alpha + sigma
            return cls((x - sigma * output) / norm, (x + alpha * output) / norm)
        raise InputError(
            f"prediction_type {kind!r} is not known: expected epsilon, v_prediction, sample or flow"
        )

    @classmethod
    def from_eps(cls, eps: Tensor, x: Tensor, level: Level) -> Prediction:
        """The prediction at x whose noise is eps. Raises InputError where alpha = 0."""
        alpha, sigma = level.amplitudes(x)
        if not bool((level.alpha > 0).all()):
            raise InputError(
                "the noisiest level of this schedule holds no signal (alpha = 0), where a "
                "prediction of eps says nothing of x0: use a v-prediction model, or trailing "
                "spacing without rescale_betas_zero_snr"
            )
        return cls((x - sigma * eps) / alpha, eps)

    def plus_eps(self, eps: Tensor, level: Level) -> Prediction:
        """The prediction with ``eps`` added to its noise, and x0 moved by what that means.

        What was done to x0 alone before (proximal guidance's pull) stays. alpha > 0 is needed.
        """
        alpha, sigma = level.amplitudes(eps)
        return Prediction(self.x0 - sigma / alpha * eps, self.eps + eps)

    def rows(self, chosen: Tensor | slice) -> Prediction:
        return Prediction(self.x0[chosen], self.eps[chosen])

    def map(self, other: Prediction, mix) -> Prediction:
        """``mix(self's view, other's view)`` on both views; mix must be affine, weights sum 1."""
        return Prediction(mix(self.x0, other.x0), mix(self.eps, other.eps))
