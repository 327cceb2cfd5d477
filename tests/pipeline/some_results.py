"""Two claims, what one of their notebooks recorded, and a record of its run."""

from earlytime import claims

CLAIM = claims.Claim(
    "a-claim",
    "Hu et al. 2020",
    "Theorem 1",
    "It holds that $x = 1$.",
    "part/first",
    "The slope.",
    {"at_most": 0.0},
    {},
    known="ReLU is too wide.",
)
OTHER = CLAIM._replace(id="other", notebook="not/run")
RECORD = {"cases": {"erf": [-1.0, -1.1, -0.9], "ReLU": [1.0, 1.1]}, "sizes": {"dims": [8, 16], "seed": 3}, "reason": ""}
RUN = {
    "profile": "standard",
    "parameters": {},
    "seconds": 61.2,
    "seconds_compiling": 20.4,
    "programs": 12,
    "from_cache": 3,
    "peak_memory": {"host": 1_240_000_000, "device": None},
    "finished": "2026-01-02T03:04:05+00:00",
    "device": "cpu",
    "versions": {"jax": "1"},
}
