"""Codes: compressed vectors in fast memory, and how they are trained.

One module per training; the encoding and the distance kernels are native. `train_code` picks by name, `TrainedCode`
carries the parameters between training, the index directory and the native code.
"""

from __future__ import annotations

from tiervec.codes.choosing import AUTO, CodeBits, check_code_bits, choose_code_bits, largest_code_bits
from tiervec.codes.trained_code import (
    CODE_NAMES,
    TrainedCode,
    code_parameter_bytes,
    code_row_bytes,
    train_code,
    training_bytes,
)

__all__ = [
    "AUTO",
    "CODE_NAMES",
    "CodeBits",
    "TrainedCode",
    "check_code_bits",
    "choose_code_bits",
    "code_parameter_bytes",
    "code_row_bytes",
    "largest_code_bits",
    "train_code",
    "training_bytes",
]
