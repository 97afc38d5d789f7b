"""Layers of trained networks in NumPy, for inference without torch."""

from collections.abc import Mapping

import numpy as np
from scipy.special import erf

from m6rec.kernels.arrays.rows import Float32


def linear(weights: Mapping[str, Float32], name: str, x: Float32) -> Float32:
    """x W^T + b, with the layer's `NAME.weight` and `NAME.bias`: float32 [..., out]."""
    result: Float32 = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return result


def layer_norm(weights: Mapping[str, Float32], name: str, x: Float32, floor: float) -> Float32:
    """The last axis centred and scaled, then by `NAME.weight` and `NAME.bias`: the shape of x.

    (x - mean) / sqrt(variance + floor) w + b (Ba, Kiros and Hinton 2016, "Layer Normalization").
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(variance + np.float32(floor))
    result: Float32 = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return result


def gelu(x: Float32) -> Float32:
    """x times the standard normal distribution function at x (Hendrycks and Gimpel 2016)."""
    result: Float32 = np.float32(0.5) * x * (1 + erf(x * np.float32(np.sqrt(0.5))))
    return result
