"""Tests run in float64 unless a test says otherwise: brute force is only worth its name there."""

import jax

jax.config.update("jax_enable_x64", True)
