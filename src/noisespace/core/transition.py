"""Between two levels. DDIM down, DDIM up (= inversion) and flow Euler are one ``renoise``."""

from __future__ import annotations

from torch import Tensor

from noisespace.core.grid import Level, broadcast
from noisespace.core.prediction import Prediction
from noisespace.errors import InputError


def renoise(prediction: Prediction, to: Level) -> Tensor:
    """alpha * x0 + sigma * eps at another level (arXiv 2010.02502, eq. 12 with eta = 0).

    Up or down: from a noisy level to a cleaner one this is a DDIM step, the other way a step of
    DDIM inversion (arXiv 2105.05233, app. F). Returns (rows, c, h, w).
    """
    alpha, sigma = to.amplitudes(prediction.x0)
    return alpha * prediction.x0 + sigma * prediction.eps


def posterior(prediction: Prediction, at: Level, to: Level, eta: float) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the step ``at -> to`` of the DDIM/DDPM family.

    arXiv 2010.02502, eq. 12 and 16: eta = 0 is DDIM, eta = 1 is DDPM; std is *linear* in eta
    (std^2 = eta^2 * beta-tilde). Written in amplitudes, so that it holds for flow grids too.
    Returns mean (rows, c, h, w) and std, float64, () or (rows,) as ``at`` has it.
    """
    std = posterior_std(at, to, eta)
    x0, direction = prediction.x0, (to.sigma**2 - std**2).clamp(min=0).sqrt()
    return broadcast(to.alpha, x0) * x0 + broadcast(direction, x0) * prediction.eps, std


def posterior_std(at: Level, to: Level, eta: float) -> Tensor:
    """eta * (sigma_- / sigma) * sqrt(sigma^2 - (alpha sigma_- / alpha_-)^2), float64."""
    check_eta(eta)
    added = (at.sigma**2 - (at.alpha * to.sigma / to.alpha) ** 2).clamp(min=0).sqrt()
    return eta * to.sigma / at.sigma * added


def check_eta(eta: float) -> None:
    """Refuses an eta outside [0, 1]."""
    if isinstance(eta, bool) or not isinstance(eta, (int, float)) or not 0 <= eta <= 1:
        raise InputError(f"eta must be a number in [0, 1] (0 is DDIM, 1 is DDPM), got {eta!r}")
