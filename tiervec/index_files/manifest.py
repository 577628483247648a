"""The manifest of an index directory: what the index is, and the file, placement, size and checksum of each section.

    DIR/manifest.json     one JSON object, at most 4 MiB, with the keys below and `checksum`
    DIR/<section>.bin     one file per section

`checksum` is the XXH3 (64 bits, hexadecimal) of the object without it as canonical JSON: keys sorted, no spaces, ASCII.
White space and the order of keys may change, nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import xxhash

from tiervec.errors import DataLossError, InvalidArgumentError, UnsupportedError

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "MAX_MANIFEST_BYTES",
    "IndexDescription",
    "Manifest",
    "Placement",
    "Section",
    "parse_manifest",
    "serialize_manifest",
]

MANIFEST_NAME: Final = "manifest.json"
FORMAT: Final = "tiervec-index"
FORMAT_VERSION: Final = 2
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024

Placement = Literal["fast", "tier", "disk"]

_SECTION_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_FILE_NAME: Final = re.compile(
    r"[a-z0-9][a-z0-9_.-]{0,127}", re.ASCII
)  # no slash, no leading dot: stays in the directory
_CHECKSUM: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "kind": ("graph", "cluster"),
    "metric": ("l2", "ip", "cosine"),
    "dtype": ("float32", "float16", "int8", "uint8"),
}
_LEAST: Final = {"dim": 1, "vectors": 1, "dataset_bytes": 1, "seed": 0}


@dataclass(frozen=True, kw_only=True)
class Section:
    """One file of an index.

    Attributes:
        name: Lower-case letters, digits and underscores.
        file: Its file name inside the directory.
        placement: ``fast`` (loaded into fast memory), ``tier`` (lives in second-tier memory) or ``disk`` (not needed by
            a search: stays in its file).
        bytes: The size of the file.
        checksum: XXH3 (64 bits) of the file, 16 hexadecimal digits.
    """

    name: str
    file: str
    placement: Placement
    bytes: int
    checksum: str

    def __post_init__(self) -> None:
        check_section_names(self.name, self.file, self.placement)
        _check_count(f"section {self.name!r}: bytes", self.bytes, 0)
        if not _matches(_CHECKSUM, self.checksum):
            raise InvalidArgumentError(
                f"section {self.name!r}: checksum is {self.checksum!r}; it must have 16 hexadecimal digits"
            )


@dataclass(frozen=True, kw_only=True)
class IndexDescription:
    """What an index is, apart from its files.

    Attributes:
        kind: ``graph`` or ``cluster``.
        metric: ``l2``, ``ip`` or ``cosine``.
        dtype: ``float32``, ``float16``, ``int8`` or ``uint8``.
        dim: Columns of a vector.
        vectors: Number of vectors.
        dataset_bytes: Bytes of the raw vectors: vectors x dim x item size.
        params: Build parameters as used, JSON values.
        seed: The seed of the build.
        salt: 16 hexadecimal digits that seed the checks of the records: a hash of everything that a record's meaning
            depends on, so that two builds have the same only when their records are the same.
        calibration: The table behind ``target_recall``, JSON values, or None.
        details: What the index kind needs to open its sections (widths, entry points); opaque here, JSON values.
    """

    kind: str
    metric: str
    dtype: str
    dim: int
    vectors: int
    dataset_bytes: int
    params: Mapping[str, Any]
    seed: int = 0
    salt: str = "0" * 16
    calibration: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise InvalidArgumentError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
        for name, least in _LEAST.items():
            _check_count(name, getattr(self, name), least)
        if not _matches(_CHECKSUM, self.salt):
            raise InvalidArgumentError(f"salt is {self.salt!r}; it must have 16 hexadecimal digits")
        for name in ("params", "details", "calibration"):
            value = getattr(self, name)
            if not isinstance(value, Mapping) and not (name == "calibration" and value is None):
                raise InvalidArgumentError(f"{name} is a {type(value).__name__}; it must be an object with string keys")


@dataclass(frozen=True, kw_only=True)
class Manifest(IndexDescription):
    """A description with its sections, as stored.

    Attributes:
        sections: In the order they were written; names and files are unique.
        created_by: The version of TierVec that wrote the index.
        format_version: The version of the layout of the directory.
    """

    sections: tuple[Section, ...]
    created_by: str
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count("format_version", self.format_version, 1)
        if not isinstance(self.created_by, str):
            raise InvalidArgumentError(f"created_by is {self.created_by!r}; it must be a version")
        for key in ("name", "file"):
            values = [getattr(section, key) for section in self.sections]
            if len(set(values)) != len(values):
                raise InvalidArgumentError(f"sections have the {key}s {values}; they must be unique")

    def description(self, **changes: Any) -> IndexDescription:
        """The description alone, with other values for some of its attributes."""
        kept = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(IndexDescription)}
        return IndexDescription(**{**kept, **changes})


def check_section_names(name: str, file: str, placement: str) -> None:
    """Refuses names that could leave the directory or hide in it.

    Raises:
        InvalidArgumentError: It says which of the three is wrong.
    """
    if not _matches(_SECTION_NAME, name):
        raise InvalidArgumentError(f"section name is {name!r}; use lower-case letters, digits and underscores")
    if not _matches(_FILE_NAME, file) or file == MANIFEST_NAME:
        raise InvalidArgumentError(
            f"section {name!r}: file is {file!r}; use lower-case letters, digits, '.', '_' and '-', not {MANIFEST_NAME}"
        )
    if placement not in ("fast", "tier", "disk"):
        raise InvalidArgumentError(f"section {name!r}: placement is {placement!r}; it must be 'fast', 'tier' or 'disk'")


def serialize_manifest(manifest: Manifest) -> bytes:
    """Writes a manifest as indented JSON with its checksum.

    Raises:
        InvalidArgumentError: params, details or calibration hold what JSON cannot (NaN included), or it is too large.
    """
    # Not dataclasses.asdict: it deep-copies, and knows only dict among the mappings.
    document: dict[str, Any] = {"format": FORMAT}
    for entry in dataclasses.fields(manifest):
        document[entry.name] = getattr(manifest, entry.name)
    document["sections"] = [dataclasses.asdict(section) for section in manifest.sections]
    for name in ("params", "details", "calibration"):
        document[name] = None if document[name] is None else dict(document[name])
    try:
        # What is read back must be what was written: int keys and tuples would change, so they are changed first.
        document = json.loads(json.dumps(document, allow_nan=False, default=_plain_number))
        document["checksum"] = _checksum(document)
        text = json.dumps(document, indent=2, allow_nan=False).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"params, details and calibration must hold JSON values only: {error}") from error
    if len(text) > MAX_MANIFEST_BYTES:
        raise InvalidArgumentError(
            f"the manifest takes {len(text):,} bytes; at most {MAX_MANIFEST_BYTES:,} are allowed"
        )
    return text


def parse_manifest(text: bytes, path: str) -> Manifest:
    """Reads a manifest and checks its format, version, checksum and every field.

    Args:
        text: The content of the file.
        path: How errors name it.

    Raises:
        DataLossError: It is damaged, or not a manifest of TierVec.
        UnsupportedError: A newer version of TierVec wrote it, or one too old for this one.
    """
    document = _load_object(text, path)
    if document.pop("format", None) != FORMAT:
        raise DataLossError(f"{path} is not the manifest of a TierVec index: its format is not {FORMAT!r}")
    version = document.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise UnsupportedError(
            f"{path} has the format version {version}, and this TierVec reads up to {FORMAT_VERSION}; upgrade tiervec"
        )
    if type(version) is int and 1 <= version < FORMAT_VERSION:
        raise UnsupportedError(
            f"{path} has the format version {version}, and this TierVec reads {FORMAT_VERSION}; build the index again"
        )
    stored = document.pop("checksum", None)
    actual = _checksum({"format": FORMAT, **document})
    if stored != actual:
        raise DataLossError(f"{path} is damaged: its checksum is {stored!r}, but its content gives {actual!r}")
    # From here on only a writer's bug, or a forged checksum, can be wrong; it still must not end in a KeyError.
    try:
        entries = document.pop("sections")
        if not isinstance(entries, list):
            raise InvalidArgumentError(f"sections is a {type(entries).__name__}; it must be a list")
        return Manifest(sections=tuple(Section(**entry) for entry in entries), **document)
    except (InvalidArgumentError, TypeError, KeyError) as error:
        raise DataLossError(f"{path} does not describe an index: {error}") from error


def _load_object(text: bytes, path: str) -> dict[str, Any]:
    try:
        document = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON are ValueErrors
        raise DataLossError(f"{path} is damaged: it is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise DataLossError(f"{path} is damaged: it holds a JSON {type(document).__name__}, not an object")
    return document


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key appears twice")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def _checksum(document: Mapping[str, Any]) -> str:
    try:
        canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:  # 1e999 reads as infinity
        return "none: a number is out of range"
    return xxhash.xxh3_64_hexdigest(canonical.encode("ascii"))


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _plain_number(value: Any) -> Any:
    """What json asks for a value that it does not know: numpy's numbers count as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _check_count(name: str, value: Any, least: int) -> None:
    if type(value) is not int or not least <= value < 2**63:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be an integer of at least {least}, below 2**63")
