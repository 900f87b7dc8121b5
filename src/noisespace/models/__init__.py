"""Models behind one protocol: analytic mixtures, and whatever diffusers can load."""

from noisespace.models.base import Model

__all__ = ["Model"]
