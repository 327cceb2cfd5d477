"""The learning rate up to which a run would have been stable, which only the error of a diverged one names."""

import functools
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from earlytime._blocks import map_blocks
from earlytime._networks import applied

_POWER_ITERATIONS = 50
# Whether a run that is being traced looks for the stable learning rate, which only the error of a diverged run names:
# a third of the program. `over_seeds` asks for it when it has seen that a run diverged.
limits_wanted: ContextVar[bool] = ContextVar("limits_wanted", default=True)


def is_run(node) -> bool:
    """Whether it can be asked, as `require_finite` does, if it diverged."""
    return hasattr(node, "diverged_at") and hasattr(node, "stable_learning_rate")


def split(leaves, frozen):
    """Which leaves are trained, those leaves, and the function that puts such leaves back among the others."""
    trained = [i for i, still in enumerate(frozen) if not still]

    def assemble(moving):
        merged = list(leaves)
        for i, leaf in zip(trained, moving):
            merged[i] = leaf
        return merged

    return trained, [leaves[i] for i in trained], assemble


@functools.partial(jax.jit, static_argnames=("apply_fn", "block_size", "frozen", "shards"))
def stable_share(start, rest, x, rates, diverged_at, *, apply_fn, block_size, frozen, shards):
    """2n/λ_max of Σ_l η_l Θ_l at the start: what the learning rates would have to be multiplied with."""
    trained, moving, assemble = split(start, frozen)
    f = applied(apply_fn, rest)

    def outputs(moving):
        return map_blocks(lambda block: f(assemble(moving), block), x, block_size, shards)

    def kernel_product(u):
        _, pull = jax.vjp(outputs, moving)
        scaled = [jnp.asarray(rates[i], g.dtype) * g for i, g in zip(trained, pull(u)[0])]
        return jax.jvp(outputs, (moving,), (scaled,))[1]

    # Power iteration, in a loop of length 0 where nothing diverged: then it costs nothing.
    iterations = jnp.where(diverged_at >= 0, _POWER_ITERATIONS, 0)
    out = jax.eval_shape(outputs, moving)
    # No direction in particular, cheap to compile.
    vector = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
    top, _ = jax.lax.fori_loop(
        0,
        iterations,
        lambda _, c: (jnp.linalg.norm(p := kernel_product(c[1])), p / jnp.linalg.norm(p)),
        (jnp.asarray(jnp.nan, out.dtype), vector / jnp.linalg.norm(vector)),
    )
    return 2 * x.shape[0] / top
