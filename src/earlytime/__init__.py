"""Early-time learning dynamics of neural networks: the linear models that networks follow at first.

The companion of Hu et al. 2020, Lee et al. 2019 and Liu et al. 2020; see the book. What most programs need is here;
the rest is in the modules, each about one concept: `et.curvature.output_hessian`, `et.infinite_width.residual`.
"""

import importlib
import warnings

from earlytime import (
    activations,
    affine_fits,
    affine_kernels,
    announcement,
    assembled_networks,
    checkpoints,
    chunks,
    cifar10,
    claims,
    comparison,
    convolutional_networks,
    curvature,
    deep_kernels,
    deep_networks,
    devices,
    diagnosis,
    diagonal_networks,
    features,
    function_space,
    gaussian_processes,
    gradient_descent,
    graph_networks,
    images,
    infinite_width,
    input_statistics,
    inputs,
    kernels,
    krylov,
    learning_curves,
    linear_models,
    linear_ranges,
    linearization,
    losses,
    nearest_kernels,
    networks,
    operators,
    parameterization,
    parameters,
    patch_kernels,
    precision,
    rules,
    scaling,
    seeds,
    spectral,
    stable_rank_formulas,
    stable_ranks,
    statistics,
    tabulated_kernels,
    trajectories,
    two_layer_kernels,
)
from earlytime.activations import gaussian_moments, leaky_relu
from earlytime.announcement import announce
from earlytime.claims import record_claim, record_measured, record_not_run
from earlytime.comparison import compare
from earlytime.convolutional_networks import convolutional, residual
from earlytime.curvature import hessian_norm
from earlytime.deep_networks import fully_connected
from earlytime.diagnosis import Diagnosis, diagnose
from earlytime.features import early_time_features, estimate_trace_sigma_squared
from earlytime.function_space import kernel_dynamics
from earlytime.gradient_descent import train
from earlytime.images import load_images
from earlytime.inputs import Task, sample_inputs, sample_task, teacher_labels
from earlytime.kernels import linear_kernel, tangent_kernel
from earlytime.linear_models import early_time_model, linear_model
from earlytime.linearization import linearize
from earlytime.loss_flow import loss_flow
from earlytime.networks import Network, TwoLayerParams, symmetric, two_layer
from earlytime.parameters import check_parameters
from earlytime.precision import use_precision
from earlytime.seeds import over_seeds
from earlytime.spectral import spectral_norm
from earlytime.statistics import fit_power_law
from earlytime.trajectories import log_spaced_steps, require_finite
from earlytime.two_layer_kernels import two_layer_kernel

__all__ = [
    "Diagnosis",
    "Network",
    "Task",
    "TwoLayerParams",
    "announce",
    "check_parameters",
    "compare",
    "convolutional",
    "diagnose",
    "early_time_features",
    "early_time_model",
    "estimate_trace_sigma_squared",
    "fit_power_law",
    "fully_connected",
    "gaussian_moments",
    "hessian_norm",
    "kernel_dynamics",
    "leaky_relu",
    "linear_kernel",
    "linear_model",
    "linearize",
    "load_images",
    "log_spaced_steps",
    "loss_flow",
    "over_seeds",
    "record_claim",
    "record_measured",
    "record_not_run",
    "require_finite",
    "residual",
    "sample_inputs",
    "sample_task",
    "spectral_norm",
    "symmetric",
    "tangent_kernel",
    "teacher_labels",
    "train",
    "two_layer",
    "two_layer_kernel",
    "use_precision",
]

# Names that stood here before, and their homes.
_MOVED = {
    "AffineFeatures": "affine_kernels",
    "AffineKernel": "affine_kernels",
    "Comparison": "comparison",
    "EarlyTimeFeatures": "features",
    "GaussianMoments": "activations",
    "ImageData": "images",
    "KernelDynamics": "function_space",
    "Kernels": "deep_kernels",
    "Layer": "deep_networks",
    "LinearModel": "linear_models",
    "LinearizedParams": "linearization",
    "Norm": "spectral",
    "Operator": "operators",
    "PowerLaw": "statistics",
    "Trajectory": "trajectories",
    "affine_features": "affine_kernels",
    "affine_kernel": "affine_kernels",
    "complement": "operators",
    "confidence_interval": "statistics",
    "deep_kernel": "deep_kernels",
    "gradient_norms": "kernels",
    "kernel_change": "kernels",
    "kernel_change_bound": "kernels",
    "layer_scales": "parameterization",
    "norm_feature": "features",
    "output_hessian": "curvature",
    "parameter_distance": "kernels",
    "schur_complement": "operators",
    "standard_parameterization": "parameterization",
    "two_layer_hessian_norm": "curvature",
    "with_output": "networks",
}


def __getattr__(name: str):
    if name in ("plotting", "diagnosis_plots"):  # imported late: matplotlib takes its time
        return importlib.import_module(f"earlytime.{name}")
    if name == "plot_diagnoses":
        return importlib.import_module("earlytime.diagnosis_plots").plot_diagnoses
    if name not in _MOVED:
        raise AttributeError(f"module 'earlytime' has no attribute {name!r}")
    home = _MOVED[name]
    warnings.warn(f"et.{name} has moved: call et.{home}.{name}", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(f"earlytime.{home}"), name)
