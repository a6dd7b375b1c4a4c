"""What must hold of the Kubernetes objects we ship: each rule yields the sentences that say what is wrong."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import kubernetes_validate

from tests.unit.project.kustomize import Manifest

Rule = Callable[[list[Manifest]], Iterator[str]]

START_OF_AN_INTERPRETER_S = 10
"""A probe that starts Python or Erlang on a busy node may need this long."""

CONFINED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def schema(objects: list[Manifest]) -> Iterator[str]:
    """Strictly what the newest known Kubernetes accepts: no unknown key, no wrong type."""
    for item in objects:
        try:
            kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{_title(item)}: {error.message}"


def references(objects: list[Manifest]) -> Iterator[str]:
    """Every object, key and volume that is named exists."""
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    keys = {(item["metadata"]["name"], key) for item in _of_kind(objects, "Secret") for key in item["data"]}
    for workload in _workloads(objects):
        for kind, name in set(_named(workload)) - names:
            yield f"{_title(workload)} names {kind} {name}, which does not exist"
        for wanted in _find(workload, "secretKeyRef"):
            if (wanted["name"], wanted["key"]) not in keys:
                yield f"{_title(workload)} takes {wanted['key']} from Secret {wanted['name']}, which lacks it"
        for name in _mounts(workload) - _volumes(workload):
            yield f"{_title(workload)} mounts {name}, which is no volume of it"


def selectors(objects: list[Manifest]) -> Iterator[str]:
    """A workload selects its own pods, and nothing selects pods that nobody starts."""
    for workload in _workloads(objects):
        if not _selects(workload["spec"]["selector"], workload):
            yield f"{_title(workload)} does not select its own pods"
    for item in objects:
        for selector in _pod_selectors(item):
            if not any(_selects(selector, workload) for workload in _workloads(objects)):
                yield f"{_title(item)} selects {selector}, which no pod has"


def ports(objects: list[Manifest]) -> Iterator[str]:
    """A service leads to a port that the pods behind it have."""
    for service in _of_kind(objects, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        behind = [workload for workload in _workloads(objects) if _selects(selector, workload)]
        open_ports = {port["name"] for _, container in _containers(behind) for port in container.get("ports", ())}
        for port in service["spec"].get("ports", ()):
            if port["targetPort"] not in open_ports:
                yield f"{_title(service)} leads to port {port['targetPort']}, which no pod behind it has"


def confinement(objects: list[Manifest]) -> Iterator[str]:
    """No process is root or can become it, makes unusual system calls, or writes outside its volumes."""
    for workload in _workloads(objects):
        own = _pod(workload).get("securityContext", {})
        if own.get("runAsNonRoot") is not True or own.get("runAsUser", 0) == 0:
            yield f"{_title(workload)} may run as root"
        if own.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{_title(workload)} may make any system call"
    for title, container in _containers(_workloads(objects)):
        if container.get("securityContext") != CONFINED:
            yield f"{title} is not confined by {CONFINED}"


def budgets(objects: list[Manifest]) -> Iterator[str]:
    """Every container says what it needs and what it may take."""
    for title, container in _containers(_workloads(objects)):
        for bound in ("requests", "limits"):
            for what in {"cpu", "memory"} - container.get("resources", {}).get(bound, {}).keys():
                yield f"{title} has no {bound} of {what}"


def probes(objects: list[Manifest]) -> Iterator[str]:
    """Every container says when it is ready, and its probes have the time to start an interpreter."""
    for title, container in _containers(_workloads(objects)):
        if "readinessProbe" not in container:
            yield f"{title} does not say when it is ready"
        for kind in {"startupProbe", "readinessProbe", "livenessProbe"} & container.keys():
            probe = container[kind]
            if "exec" not in probe or probe.get("timeoutSeconds", 1) < START_OF_AN_INTERPRETER_S:
                yield f"{title}: its {kind} may time out before the program it runs has started"


def images(objects: list[Manifest]) -> Iterator[str]:
    """Every image is of one named version."""
    for title, container in _containers(_workloads(objects)):
        _, _, tag = container["image"].partition(":")
        if tag in {"", "latest"}:
            yield f"{title}: {container['image']} is not pinned"


def closed_doors(objects: list[Manifest]) -> Iterator[str]:
    """Only the broker accepts connections, on one port; everybody else just dials out."""
    for workload in _workloads(objects):
        policies = [item["spec"] for item in _of_kind(objects, "NetworkPolicy")]
        own = [policy for policy in policies if _selects(policy["podSelector"], workload)]
        if not {"Ingress", "Egress"} <= {direction for policy in own for direction in policy["policyTypes"]}:
            yield f"{_title(workload)} has a direction that no policy closes"
        rules = [rule for policy in own for rule in policy.get("ingress", ())]
        accepted = [port["port"] for rule in rules for port in rule.get("ports", [{"port": "any"}])]
        if accepted != ([5672] if workload["metadata"]["name"] == "rabbitmq" else []):
            yield f"{_title(workload)} accepts connections to {accepted}"


ALL: tuple[Rule, ...] = (
    schema,
    references,
    selectors,
    ports,
    confinement,
    budgets,
    probes,
    images,
    closed_doors,
)


def _title(item: Manifest) -> str:
    return f"{item['kind']} {item['metadata']['name']}"


def _of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    return [item for item in objects if item["kind"] in kinds]


def _workloads(objects: list[Manifest]) -> list[Manifest]:
    return _of_kind(objects, "Deployment", "StatefulSet")


def _pod(workload: Manifest) -> Manifest:
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def _containers(workloads: Iterable[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for workload in workloads:
        for container in _pod(workload)["containers"]:
            yield f"{_title(workload)}/{container['name']}", container


def _named(workload: Manifest) -> Iterator[tuple[str, str]]:
    """Objects that a workload names, as (kind, name)."""
    yield "ServiceAccount", _pod(workload).get("serviceAccountName", "default")
    if "serviceName" in workload["spec"]:
        yield "Service", workload["spec"]["serviceName"]
    for kind, field, key in (
        ("ConfigMap", "configMap", "name"),
        ("ConfigMap", "configMapRef", "name"),
        ("Secret", "secret", "secretName"),
        ("Secret", "secretRef", "name"),
        ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
    ):
        for reference in _find(_pod(workload), field):
            yield kind, reference[key]


def _mounts(workload: Manifest) -> set[str]:
    return {mount["name"] for mounts in _find(_pod(workload), "volumeMounts") for mount in mounts}


def _volumes(workload: Manifest) -> set[str]:
    claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
    return claims | {volume["name"] for volume in _pod(workload).get("volumes", ())}


def _pod_selectors(item: Manifest) -> Iterator[Manifest]:
    """Every selector of an object that is meant to match pods of ours."""
    match item["kind"]:
        case "Service":
            yield {"matchLabels": item["spec"]["selector"]}
        case "PodDisruptionBudget":
            yield item["spec"]["selector"]
        case "NetworkPolicy":
            yield from _find(item, "podSelector")


def _selects(selector: Mapping[str, Any], workload: Manifest) -> bool:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def _find(tree: Any, key: str) -> Iterator[Any]:
    """Every value under `key`, at any depth."""
    if isinstance(tree, dict):
        if key in tree:
            yield tree[key]
        tree = list(tree.values())
    if isinstance(tree, list):
        for value in tree:
            yield from _find(value, key)
