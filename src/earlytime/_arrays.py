"""Types of arguments: whatever JAX computes with, and lists where they are few numbers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, Int, Num

AnyArray = Array | np.ndarray
Whole = int | np.integer
Real = float | np.floating | Float[AnyArray, ""]
Numbers = Sequence | Num[AnyArray, "..."]
Steps = Whole | Int[AnyArray, "..."] | Sequence[int]
