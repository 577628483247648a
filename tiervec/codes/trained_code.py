"""The parameters of a trained code, their form in the index directory, and the native code made of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiervec import _core
from tiervec.arguments.parameter_checks import check_choice, check_number
from tiervec.codes.centering import squared_norms
from tiervec.codes.principal_axes import MAX_AXES, axes_bytes
from tiervec.errors import DataLossError, InvalidArgumentError

__all__ = [
    "CODE_NAMES",
    "TrainedCode",
    "code_parameter_bytes",
    "code_row_bytes",
    "train_code",
    "training_bytes",
]

CODE_NAMES = ("rabitq", "sq", "pq")
_MIN_CODE_BITS, _MAX_CODE_BITS = 0.5, 8
_LEAST_ROW = 8  # bytes, of the native code
_MAX_REASON = 100  # characters of another library's message
_NORM_BYTES = 40  # of one row: its norm, squared and not, and what quantiles copy
_SHORT_ROW = 24  # bytes; below, the factors would take a large part of the budget


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedCode:
    """A trained code.

    Attributes:
        name: ``rabitq``, ``sq`` or ``pq``.
        metric: ``l2``, ``ip`` or ``cosine``.
        dim: Columns of a vector.
        arrays: The trained arrays; their names and shapes belong to the training's module.
        scalars: Trained numbers.
    """

    name: str
    metric: str
    dim: int
    arrays: Mapping[str, NDArray[Any]]
    scalars: Mapping[str, float | int | bool]

    def native(self) -> _core.Code:
        """The native code that encodes and estimates distances."""
        if self.name == "pq":
            return _core.pq_code(
                self.metric, self.dim, int(self.scalars["parts"]), self.arrays["centroids"].reshape(-1)
            )
        rotation = self.arrays.get("rotation")
        seed = self.scalars.get("fast_rotation")
        return _core.dot_code(
            self.metric,
            self.arrays["center"],
            None if rotation is None else rotation.astype(np.float32).reshape(-1),
            None if seed is None else int(seed),
            self.arrays["widths"],
            self.arrays["steps"],
            int(self.scalars["row_bytes"]),
            bool(self.scalars["unbiased"]),
        )

    def to_bytes(self) -> bytes:
        """The content of an index directory's section ``code``: an .npz archive."""
        buffer = io.BytesIO()
        scalars = {f"scalar_{key}": np.asarray(value) for key, value in self.scalars.items()}
        np.savez(buffer, allow_pickle=False, **self.arrays, **scalars)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str, metric: str, dim: int) -> TrainedCode:
        """Reads what `to_bytes` wrote.

        Raises:
            DataLossError: It is not such an archive, or an array does not have the dtype that was written.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                found = {key: archive[key] for key in archive.files}
            scalars = {key[len("scalar_") :]: found.pop(key).item() for key in list(found) if key.startswith("scalar_")}
        except Exception as error:  # what numpy, zipfile and zlib raise for any bytes is not documented
            reason = str(error)[:_MAX_REASON]  # zipfile quotes names that damage made long
            raise DataLossError(f"section code is not an archive of arrays: {reason}") from error
        code = cls(name=name, metric=metric, dim=dim, arrays=found, scalars=scalars)
        try:
            code.native()
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataLossError(f"section code does not hold a {name} code of dimension {dim}: {error}") from error
        return code


def code_row_bytes(name: str, code_bits: float, dim: int) -> int:
    """Fast memory of one vector's code in bytes.

    ``rabitq`` keeps its two factors, six bytes, within the budget of ``code_bits`` per dimension; a budget below 24
    bytes gets two more; ``sq`` adds six bytes for them; ``pq`` spends one byte per part and needs parts that divide the
    dimension.

    Raises:
        InvalidArgumentError: An unknown code, or bits that it does not have.

    Example:
        >>> code_row_bytes("rabitq", 4, 128), code_row_bytes("sq", 8, 128), code_row_bytes("pq", 2, 128)
        (64, 134, 32)
    """
    check_choice("code", name, CODE_NAMES)
    code_bits = check_number("code_bits", code_bits, _MIN_CODE_BITS, _MAX_CODE_BITS)
    if name == "sq":
        if code_bits not in (4, 8):
            raise InvalidArgumentError(f"code_bits is {code_bits}; code sq has 4 or 8")
        return max((dim * int(code_bits) + 7) // 8 + 6, _LEAST_ROW)
    budget = int(dim * code_bits / 8)
    if name == "rabitq":
        return budget if budget >= _SHORT_ROW else max(budget, _LEAST_ROW) + 2
    return next(parts for parts in range(max(budget, 1), 0, -1) if dim % parts == 0)


def code_parameter_bytes(dim: int) -> int:
    """At most so many bytes of an index directory hold the parameters of ``rabitq``."""
    return 16 * dim + 2 * dim * min(dim, MAX_AXES)


def training_bytes(rows: int, dim: int) -> int:
    """Peak memory of `train_code` in bytes: the sample, a copy of it, norms, axes."""
    return 2 * rows * dim * 4 + _NORM_BYTES * rows + axes_bytes(rows, dim)


def train_code(
    name: str,
    sample: NDArray[Any],
    *,
    metric: str,
    code_bits: float,
    seed: int = 0,
    threads: int = 0,
    overwrite_sample: bool = False,
) -> TrainedCode:
    """Trains a code on a sample of the vectors.

    Args:
        name: ``rabitq``, ``sq`` or ``pq``.
        sample: (rows, dim), any of the four dtypes; tens of thousands of rows are enough.
        metric: ``l2``, ``ip`` or ``cosine``.
        code_bits: Bits per dimension; see `code_row_bytes` for what they pay for.
        seed: Seed for all randomness.
        threads: For training; 0 means all allowed CPUs.
        overwrite_sample: A float32 sample may be overwritten, which saves a copy.

    Raises:
        InvalidArgumentError: An unknown code, or bits that it does not have.
        UnsupportedError: ``pq`` without faiss installed.

    Example:
        >>> import numpy as np
        >>> sample = np.random.default_rng(0).normal(size=(1000, 32)).astype(np.float32)
        >>> code = train_code("rabitq", sample, metric="l2", code_bits=4).native()
        >>> code.dim, code.row_bytes
        (32, 16)
    """
    from tiervec.codes import product_quantization, rabitq, scalar_quantization

    vectors: NDArray[np.float32] = (np.asarray if overwrite_sample else np.array)(sample, dtype=np.float32)
    if metric == "cosine":
        norms = np.sqrt(squared_norms(vectors))[:, None]
        vectors /= np.where(norms > 0, norms, 1)
    dim = vectors.shape[1]
    row_bytes = code_row_bytes(name, code_bits, dim)
    if name == "rabitq":
        arrays, scalars = rabitq.train(vectors, row_bytes, seed)
    elif name == "sq":
        arrays, scalars = scalar_quantization.train(vectors, row_bytes, int(code_bits))
    else:
        arrays, scalars = product_quantization.train(vectors, row_bytes, seed=seed, threads=threads)
    return TrainedCode(name=name, metric=metric, dim=dim, arrays=arrays, scalars=scalars)
