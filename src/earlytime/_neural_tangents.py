"""The one place that imports neural-tangents 0.6.5, its last release, on current JAX.

It is written against names that JAX has removed since. Its modules get them from their own import
statement, which serves views of `jax` and `scipy` with the old names added: JAX itself is never changed.
"""

import builtins
import functools
import importlib
import sys
import types
import warnings
from importlib.machinery import PathFinder, SourceFileLoader
from typing import Any

import jax
import jax.extend.core
import jax.extend.source_info_util
import jax.interpreters.ad
import jax.numpy as jnp
import numpy as np
import scipy.linalg

_NAME = "neural_tangents"
_INSTALL = "pip install --no-deps neural-tangents==0.6.5 frozendict"


@functools.cache
def load() -> types.ModuleType:
    """The package `neural_tangents`, without its `experimental`, which alone needs tensorflow and tf2jax.

    Afterwards `import neural_tangents` gives the same package.

    Raises:
        ImportError: neural-tangents is not installed; the message says how to do it without tensorflow.
    """
    _forget()
    sys.modules[f"{_NAME}.experimental"] = _LeftOut(f"{_NAME}.experimental")
    sys.meta_path.insert(0, _Finder)
    try:
        with warnings.catch_warnings():
            # About the source of neural-tangents: nothing that whoever loads it could change.
            warnings.simplefilter("ignore")
            package = importlib.import_module(_NAME)
    except BaseException as error:
        _forget()
        if isinstance(error, ModuleNotFoundError) and error.name in (_NAME, "frozendict"):
            raise ImportError(
                f"this needs neural-tangents, and {error.name} is not installed: run `{_INSTALL}` "
                "(--no-deps because it declares tensorflow, which is not needed)"
            ) from error
        raise
    finally:
        sys.meta_path.remove(_Finder)
    empirical: Any = sys.modules[f"{_NAME}._src.empirical"]
    empirical._eqn_vjp_fn, empirical._get_flops = _eqn_vjp_fn, _get_flops
    return package


def _forget():
    """Forget a failed import: the modules that it left behind would be taken for good ones."""
    for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
        del sys.modules[name]


class _LeftOut(types.ModuleType):
    """A module that says why there is nothing in it."""

    def __getattr__(self, name):
        if name.startswith("__"):  # what Python itself looks for
            raise AttributeError(name)
        # Not an AttributeError, whose message `from ... import` would replace by its own.
        raise ImportError(f"{self.__name__}.{name} is left out: it needs tensorflow and tf2jax")


class _Finder:
    """Finds the modules of neural-tangents, for `_Loader`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name, path) if name.partition(".")[0] == _NAME else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(name, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    """Gives a module an import statement of its own: Python looks for it in the module's builtins."""

    def exec_module(self, module):
        module.__builtins__ = vars(builtins) | {"__import__": _import}
        super().exec_module(module)


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """`import`, with the views below in place of the modules that they show."""
    if name == "jax.util":  # gone
        return _VIEWS[name]
    module = builtins.__import__(name, globals, locals, fromlist, level)
    # Without a list of names, Python imports a.b.c and returns a.
    return module if level else _VIEWS.get(name if fromlist else name.partition(".")[0], module)


class _View:
    """A module, with some names added or replaced."""

    def __init__(self, module, **names):
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


def _flatten_fun_nokwargs(fn, tree):
    """fn of flat arguments, with flat outputs; and a function that gives their tree after a call."""
    trees: list[Any] = []

    def flat(*leaves):
        out, out_tree = jax.tree.flatten(fn(*jax.tree.unflatten(tree, leaves)))
        trees[:] = [out_tree]
        return out

    return flat, lambda: trees[0]


def _linearize(fn, *primals, has_aux):
    """`ad.linearize` of JAX before 0.5: outputs, which of them are unknown, a linear jaxpr, its constants."""
    out, f_jvp = jax.linearize(fn, *primals)
    linear = jax.make_jaxpr(f_jvp)(*primals)
    unknown = types.SimpleNamespace(is_known=lambda: False)
    return out, [unknown] * len(out), linear.jaxpr, linear.consts


def _eqn_vjp_fn(eqn, cotangent, *operands):
    """The cotangents of an equation's operands, None for a constant one; no equation is the identity."""
    if eqn is None:
        return (cotangent,)
    if isinstance(cotangent, jax.interpreters.ad.Zero):
        return [None] * len(operands)
    places = [i for i, x in enumerate(operands) if isinstance(x, jax.interpreters.ad.UndefinedPrimal)]

    def apply(*linear):
        values = dict(enumerate(operands)) | dict(zip(places, linear, strict=True))
        out = eqn.primitive.bind(*values.values(), **eqn.params)
        return out[0] if eqn.primitive.multiple_results else out

    # A primitive's rule would be there to be called, but there are several kinds, and more to come.
    shapes = [jax.ShapeDtypeStruct(operands[i].aval.shape, operands[i].aval.dtype) for i in places]
    cotangents = dict(zip(places, jax.linear_transpose(apply, *shapes)(cotangent), strict=True))
    return [cotangents.get(i) for i in range(len(operands))]


def _get_flops(f, optimize, *args, **kwargs):
    """FLOPs as XLA counts them; infinite where it does not."""
    lowered = jax.jit(f).lower(*args, **kwargs)
    analysis = (lowered.compile() if optimize else lowered).cost_analysis()
    return (analysis or {}).get("flops", float("inf"))


def _eigvalsh(a, *, eigvals):
    """`scipy.linalg.eigvalsh` by the argument's name before SciPy 1.14."""
    return scipy.linalg.eigvalsh(a, subset_by_index=eigvals)


def _safe_map(f, *xs):
    return [f(*x) for x in zip(*xs, strict=True)]


def _views():
    """The modules that neural-tangents is to see in place of those of the same names."""
    moved = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
    core = _View(
        jax.core,
        **{name: getattr(jax.extend.core, name) for name in moved},
        DShapedArray=None,  # dynamic shapes, which nothing has any more
        # Computes what is concrete at once, and lets what is being traced be traced.
        eval_context=jax.ensure_compile_time_eval,
    )
    ad = _View(
        jax.interpreters.ad,
        linearize=_linearize,
        zeros_like_p=object(),  # the key of two rules: no primitive is it, and None is the identity
        source_info_util=jax.extend.source_info_util,
        config=types.SimpleNamespace(jax_enable_checks=False),  # the check asks for what is gone
    )
    # Both are asked about what is not an array of JAX, or not a dtype, which is on its way out.
    numpy = _View(jnp, size=np.size, dtype=jnp.result_type)
    api_util = types.SimpleNamespace(flatten_fun_nokwargs=_flatten_fun_nokwargs)
    interpreters = _View(jax.interpreters, ad=ad)
    return {
        "jax": _View(jax, api_util=api_util, core=core, interpreters=interpreters, numpy=numpy),
        "jax.core": core,
        # What neural-tangents wraps is flattened above, and needs no wrapping.
        "jax.extend": _View(jax.extend, linear_util=types.SimpleNamespace(wrap_init=lambda fn: fn)),
        "jax.interpreters": interpreters,
        "jax.interpreters.ad": ad,
        "jax.util": types.SimpleNamespace(safe_map=_safe_map, safe_zip=lambda *xs: list(zip(*xs, strict=True))),
        "scipy": _View(scipy, linalg=_View(scipy.linalg, eigvalsh=_eigvalsh)),
    }


_VIEWS = _views()
