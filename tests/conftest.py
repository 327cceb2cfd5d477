"""Tests run in float64 unless a test says otherwise: brute force is only worth its name there."""

import jax

jax.config.update("jax_enable_x64", True)

# Another project's tests, which have a runner of their own.
collect_ignore = ["neural_tangents_suite"]
