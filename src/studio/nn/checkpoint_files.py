"""The files inside a checkpoint: nested state as JSON + safetensors, and a manifest that vouches for every byte.

It knows trees of plain values and tensors, checksums, and nothing of models, optimizers or Lightning. Nothing here
reads or writes a pickle: a tree may hold None, bool, int, float, str, list, tuple, dict and tensors, and whatever else
is in it is refused on writing.
"""

import errno
import math
import zlib
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.core.errors import DiskSpaceError, IntegrityError
from studio.core.fsio import crc32_file, dump_json, read_json

MANIFEST = "manifest.json"
_SEAL_KEY = b'"manifest_crc32": "'
_SEAL_BLANK = b"00000000"


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write `tensors` as safetensors; DiskSpaceError when the disk is full."""
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, path, metadata={"format": "pt"})
        path.chmod(0o644)  # the library leaves 0600, unlike everything beside it
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" in str(error) or f"os error {errno.EDQUOT}" in str(error):
            raise DiskSpaceError(
                "the disk is full", where=str(path), remedy="Free some space and try again."
            ) from error
        raise


def read_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Read a safetensors file; IntegrityError names it when it is missing or not one."""
    try:
        return load_file(path, device=device)
    except FileNotFoundError as error:
        raise IntegrityError("the file is missing", where=str(path)) from error
    except SafetensorError as error:
        raise IntegrityError(f"not a readable safetensors file: {error}", where=str(path)) from error


def write_tree(folder: Path, name: str, tree: Any) -> None:
    """Write a nested value as `{name}.json`, and its tensors, if any, as `{name}.safetensors` beside it."""
    tensors: dict[str, Tensor] = {}
    document = _encode(tree, name, tensors)
    (folder / f"{name}.json").write_bytes(dump_json(document, option=orjson.OPT_INDENT_2) + b"\n")
    if tensors:
        write_tensors(folder / f"{name}.safetensors", tensors)


def read_tree(folder: Path, name: str) -> Any:
    """The value that `write_tree` wrote, tensors on the CPU, tuples and non-text keys as they were."""
    document = read_json(folder / f"{name}.json")
    path = folder / f"{name}.safetensors"
    return _decode(document, read_tensors(path) if path.exists() else {})


def _encode(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        # JSON readers disagree beyond 64 bits, and generators keep 128-bit integers
        return value if -(2**63) <= value < 2**63 else {"$int": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, Tensor):
        tensors[place] = value
        return {"$tensor": place}
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{place}.{index}", tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        return _encode_dict(value, place, tensors)
    raise TypeError(f"{type(value).__name__} at {place} cannot be part of a checkpoint")


def _encode_dict(value: dict[Any, Any], place: str, tensors: dict[str, Tensor]) -> Any:
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _encode(item, f"{place}.{key}", tensors) for key, item in value.items()}
    pairs = [
        [_encode(key, place, tensors), _encode(item, f"{place}.{number}", tensors)]
        for number, (key, item) in enumerate(value.items())
    ]
    return {"$dict": pairs}


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$tensor": str(name)}:
            return tensors[name]
        case {"$tuple": list(items)}:
            return tuple(_decode(item, tensors) for item in items)
        case {"$dict": list(pairs)}:
            return {_decode(key, tensors): _decode(item, tensors) for key, item in pairs}
        case {"$int": str(text)}:
            return int(text)
        case {"$float": str(text)}:
            return float(text)
    return {key: _decode(item, tensors) for key, item in value.items()}


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """`{name: {bytes, crc32}}` of every file in `folder` but the manifest, by name."""
    return {
        path.name: {"bytes": path.stat().st_size, "crc32": crc32_file(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST
    }


def checksum_of(files: dict[str, dict[str, Any]]) -> int:
    """One CRC32 for the whole checkpoint (spec 001 `checksum: u32`), over the names and checksums of its files."""
    return zlib.crc32("".join(f"{name} {files[name]['crc32']}\n" for name in sorted(files)).encode())


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `manifest.json` sealed with its own CRC32: of its bytes with the seal's eight digits set to zero."""
    document = {**manifest, "manifest_crc32": _SEAL_BLANK.decode()}
    blank = dump_json(document, option=orjson.OPT_INDENT_2) + b"\n"
    seal = f"{zlib.crc32(blank):08x}".encode()
    (folder / MANIFEST).write_bytes(_with_seal(blank, seal))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, when its seal holds; IntegrityError names the file otherwise."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IntegrityError(
            "this is not a whole checkpoint: its manifest is missing", where=str(path), remedy="Use another checkpoint."
        ) from error
    start = data.rfind(_SEAL_KEY) + len(_SEAL_KEY)
    seal = data[start : start + len(_SEAL_BLANK)]
    blank = _with_seal(data, _SEAL_BLANK)
    if data.count(_SEAL_KEY) != 1 or f"{zlib.crc32(blank):08x}".encode() != seal:
        raise IntegrityError("the manifest's own checksum does not hold", where=str(path), remedy=_REMEDY)
    manifest = orjson.loads(data)
    assert isinstance(manifest, dict)
    return manifest


def _with_seal(data: bytes, seal: bytes) -> bytes:
    start = data.rfind(_SEAL_KEY) + len(_SEAL_KEY)
    return data[:start] + seal + data[start + len(_SEAL_BLANK) :]


_REMEDY = "The checkpoint was damaged after it was written; use another one."


def check_files(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    """Compare every listed file with its size and CRC32; IntegrityError names the first that differs."""
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            raise IntegrityError("the file is missing", where=str(path), remedy=_REMEDY)
        size = path.stat().st_size
        if size != wanted["bytes"]:
            raise IntegrityError(f"{size} bytes instead of {wanted['bytes']}", where=str(path), remedy=_REMEDY)
        found = crc32_file(path)
        if found != wanted["crc32"]:
            raise IntegrityError(f"checksum {found} instead of {wanted['crc32']}", where=str(path), remedy=_REMEDY)


def tree_bytes(tree: Any) -> int:
    """Bytes that the tensors of a nested value will take on disk."""
    if isinstance(tree, torch.Tensor):
        return tree.numel() * tree.element_size()
    if isinstance(tree, dict):
        return sum(tree_bytes(item) for item in tree.values())
    if isinstance(tree, list | tuple):
        return sum(tree_bytes(item) for item in tree)
    return 0
