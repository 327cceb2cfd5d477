"""Early-time learning dynamics of neural networks: the linear models that networks follow at first.

The companion of Hu et al. 2020, Lee et al. 2019 and Liu et al. 2020; see the book.
"""

from earlytime.activations import GaussianMoments, gaussian_moments, leaky_relu
from earlytime.affine_kernels import (
    AffineFeatures,
    AffineKernel,
    Kernels,
    affine_features,
    affine_kernel,
    deep_kernel,
)
from earlytime.claims import record_claim, record_not_run
from earlytime.comparison import Comparison, compare
from earlytime.curvature import (
    gradient_norms,
    hessian_norm,
    kernel_change,
    kernel_change_bound,
    output_hessian,
    parameter_distance,
    two_layer_hessian_norm,
)
from earlytime.deep_networks import Layer, convolutional, fully_connected, residual
from earlytime.features import (
    EarlyTimeFeatures,
    early_time_features,
    estimate_trace_sigma_squared,
    norm_feature,
)
from earlytime.function_space import KernelDynamics, kernel_dynamics
from earlytime.gradient_descent import train
from earlytime.images import ImageData, load_images
from earlytime.inputs import Task, sample_inputs, sample_task, teacher_labels
from earlytime.kernels import (
    Operator,
    complement,
    linear_kernel,
    schur_complement,
    tangent_kernel,
    two_layer_kernel,
)
from earlytime.linear_models import LinearModel, early_time_model, linear_model
from earlytime.linearization import LinearizedParams, linearize
from earlytime.loss_flow import loss_flow
from earlytime.networks import Network, TwoLayerParams, symmetric, two_layer, with_output
from earlytime.parameterization import layer_scales, standard_parameterization
from earlytime.parameters import check_parameters, use_precision
from earlytime.spectral import Norm, spectral_norm
from earlytime.statistics import PowerLaw, confidence_interval, fit_power_law, over_seeds
from earlytime.trajectories import Trajectory, log_spaced_steps, require_finite

__all__ = [
    "AffineFeatures",
    "AffineKernel",
    "Comparison",
    "EarlyTimeFeatures",
    "GaussianMoments",
    "ImageData",
    "KernelDynamics",
    "Kernels",
    "Layer",
    "LinearModel",
    "LinearizedParams",
    "Network",
    "Norm",
    "Operator",
    "PowerLaw",
    "Task",
    "Trajectory",
    "TwoLayerParams",
    "affine_features",
    "affine_kernel",
    "check_parameters",
    "compare",
    "complement",
    "confidence_interval",
    "convolutional",
    "deep_kernel",
    "early_time_features",
    "early_time_model",
    "estimate_trace_sigma_squared",
    "fit_power_law",
    "fully_connected",
    "gaussian_moments",
    "gradient_norms",
    "hessian_norm",
    "kernel_change",
    "kernel_change_bound",
    "kernel_dynamics",
    "layer_scales",
    "leaky_relu",
    "linear_kernel",
    "linear_model",
    "linearize",
    "load_images",
    "log_spaced_steps",
    "loss_flow",
    "norm_feature",
    "output_hessian",
    "over_seeds",
    "parameter_distance",
    "record_claim",
    "record_not_run",
    "require_finite",
    "residual",
    "sample_inputs",
    "sample_task",
    "schur_complement",
    "spectral_norm",
    "standard_parameterization",
    "symmetric",
    "tangent_kernel",
    "teacher_labels",
    "train",
    "two_layer",
    "two_layer_hessian_norm",
    "two_layer_kernel",
    "use_precision",
    "with_output",
]
