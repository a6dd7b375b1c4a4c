"""As much of kustomize as `k8s/base` uses, so that tests need no binary.

A key it does not know is an error: nothing in a kustomization is passed over in silence.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_KNOWN = {"apiVersion", "kind", "namespace", "resources", "secretGenerator", "configMapGenerator"}
_CLUSTER_WIDE = {"Namespace"}


def build(directory: Path) -> list[Manifest]:
    """Return every object that the kustomization in `directory` describes.

    Unlike kustomize it adds no hash to generated names. Raises `ValueError` on what it does not know and `OSError` on
    a file that is named but missing.
    """
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    if unknown := set(kustomization) - _KNOWN:
        raise ValueError(f"{directory}/kustomization.yaml uses {sorted(unknown)}, which this loader does not know")
    objects = [item for name in kustomization["resources"] for item in _documents(directory / name)]
    objects += [_secret(directory, entry) for entry in kustomization.get("secretGenerator", ())]
    objects += [_config_map(directory, entry) for entry in kustomization.get("configMapGenerator", ())]
    for item in objects:
        if item["kind"] not in _CLUSTER_WIDE:
            item["metadata"]["namespace"] = kustomization["namespace"]
    return objects


def _documents(path: Path) -> Iterator[Manifest]:
    yield from yaml.safe_load_all(path.read_text())


def _secret(directory: Path, entry: Manifest) -> Manifest:
    values: dict[str, str] = {}
    for name in _only(entry, "envs"):
        values |= _variables((directory / name).read_text())
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": entry["name"]}, "type": "Opaque", "data": data}


def _variables(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def _config_map(directory: Path, entry: Manifest) -> Manifest:
    data = {Path(name).name: (directory / name).read_text() for name in _only(entry, "files")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": entry["name"]}, "data": data}


def _only(entry: Manifest, source: str) -> list[str]:
    if set(entry) != {"name", source}:
        raise ValueError(f"generator {entry} has keys other than name and {source}")
    names: list[str] = entry[source]
    return names
