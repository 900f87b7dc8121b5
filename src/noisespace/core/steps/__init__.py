"""How a state goes from one level to the next: one file a step, and its line here."""

from noisespace.core.steps.ancestral import Ancestral
from noisespace.core.steps.belm import Belm
from noisespace.core.steps.edict import Edict
from noisespace.core.steps.step import Noise, Predict, State, Step

# the name of a step in a saved code
STEPS: dict[str, type] = {"ancestral": Ancestral, "edict": Edict, "belm": Belm}

__all__ = ["STEPS", "Ancestral", "Belm", "Edict", "Noise", "Predict", "State", "Step"]
