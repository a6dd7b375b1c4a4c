"""The Kubernetes base keeps every rule, each rule finds what it looks for, and the example client fits its data."""

import base64
import copy
import csv
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import fl
from fl.client.config import ClientConfig
from tests.unit.project import kustomize, manifest_rules
from tests.unit.project.kustomize import Manifest
from tests.unit.project.manifest_rules import Rule

ROOT = Path(__file__).parents[3]
BASE = ROOT / "k8s" / "base"
OBJECTS = kustomize.build(BASE)


def named(kind: str, name: str, objects: list[Manifest] = OBJECTS) -> Any:
    return next(item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name))


def pod(kind: str, name: str, objects: list[Manifest] = OBJECTS) -> Any:
    return named(kind, name, objects)["spec"]["template"]["spec"]


def container(kind: str, name: str, objects: list[Manifest] = OBJECTS) -> Any:
    return pod(kind, name, objects)["containers"][0]


@pytest.mark.parametrize("rule", manifest_rules.ALL, ids=lambda rule: rule.__name__)
def test_the_base_keeps_the_rule(rule: Rule) -> None:
    assert list(rule(OBJECTS)) == []


def unknown_key(objects: list[Manifest]) -> None:
    named("Service", "rabbitmq", objects)["spec"]["clusterIp"] = "None"


def unknown_kind(objects: list[Manifest]) -> None:
    named("PodDisruptionBudget", "fluffle-server", objects)["apiVersion"] = "policy/v0"


def other_config_map(objects: list[Manifest]) -> None:
    pod("StatefulSet", "fluffle-client", objects)["volumes"][0]["configMap"]["name"] = "client-conf"


def other_secret(objects: list[Manifest]) -> None:
    container("StatefulSet", "rabbitmq", objects)["envFrom"][0]["secretRef"]["name"] = "brokers"


def other_key_of_the_secret(objects: list[Manifest]) -> None:
    container("Deployment", "fluffle-server", objects)["env"][0]["valueFrom"]["secretKeyRef"]["key"] = "URL"


def claim_that_nobody_made(objects: list[Manifest]) -> None:
    volume = pod("StatefulSet", "fluffle-client", objects)["volumes"][1]
    del volume["configMap"]
    volume["persistentVolumeClaim"] = {"claimName": "hospital-a-data"}


def account_that_nobody_made(objects: list[Manifest]) -> None:
    pod("Deployment", "fluffle-server", objects)["serviceAccountName"] = "server"


def mount_without_volume(objects: list[Manifest]) -> None:
    del named("StatefulSet", "fluffle-client", objects)["spec"]["volumeClaimTemplates"]


def label_that_is_not_selected(objects: list[Manifest]) -> None:
    named("Deployment", "fluffle-server", objects)["spec"]["template"]["metadata"]["labels"].clear()


def budget_for_nobody(objects: list[Manifest]) -> None:
    selector = named("PodDisruptionBudget", "fluffle-server", objects)["spec"]["selector"]
    selector["matchLabels"] = {"app.kubernetes.io/name": "fluffle"}


def service_to_no_port(objects: list[Manifest]) -> None:
    named("Service", "rabbitmq", objects)["spec"]["ports"][0]["targetPort"] = "amqps"


def root_user(objects: list[Manifest]) -> None:
    pod("Deployment", "fluffle-server", objects)["securityContext"]["runAsUser"] = 0


def no_seccomp(objects: list[Manifest]) -> None:
    del pod("StatefulSet", "rabbitmq", objects)["securityContext"]["seccompProfile"]


def writable_root(objects: list[Manifest]) -> None:
    container("StatefulSet", "fluffle-client", objects)["securityContext"]["readOnlyRootFilesystem"] = False


def no_memory_limit(objects: list[Manifest]) -> None:
    del container("Deployment", "fluffle-server", objects)["resources"]["limits"]["memory"]


def no_readiness(objects: list[Manifest]) -> None:
    del container("StatefulSet", "fluffle-client", objects)["readinessProbe"]


def probe_of_one_second(objects: list[Manifest]) -> None:
    del container("StatefulSet", "fluffle-client", objects)["livenessProbe"]["timeoutSeconds"]


def image_without_tag(objects: list[Manifest]) -> None:
    container("StatefulSet", "rabbitmq", objects)["image"] = "rabbitmq"


def image_of_any_version(objects: list[Manifest]) -> None:
    container("StatefulSet", "rabbitmq", objects)["image"] = "rabbitmq:latest"


def open_client(objects: list[Manifest]) -> None:
    policy = named("NetworkPolicy", "accept-amqp", objects)["spec"]
    policy["podSelector"] = {"matchLabels": {"app.kubernetes.io/name": "fluffle-client"}}


def broker_open_on_all_ports(objects: list[Manifest]) -> None:
    del named("NetworkPolicy", "accept-amqp", objects)["spec"]["ingress"][0]["ports"]


def no_default(objects: list[Manifest]) -> None:
    objects.remove(named("NetworkPolicy", "refuse-all", objects))


@pytest.mark.parametrize(
    ("rule", "damage"),
    [
        (manifest_rules.schema, unknown_key),
        (manifest_rules.schema, unknown_kind),
        (manifest_rules.references, other_config_map),
        (manifest_rules.references, other_secret),
        (manifest_rules.references, other_key_of_the_secret),
        (manifest_rules.references, claim_that_nobody_made),
        (manifest_rules.references, account_that_nobody_made),
        (manifest_rules.references, mount_without_volume),
        (manifest_rules.selectors, label_that_is_not_selected),
        (manifest_rules.selectors, budget_for_nobody),
        (manifest_rules.ports, service_to_no_port),
        (manifest_rules.confinement, root_user),
        (manifest_rules.confinement, no_seccomp),
        (manifest_rules.confinement, writable_root),
        (manifest_rules.budgets, no_memory_limit),
        (manifest_rules.probes, no_readiness),
        (manifest_rules.probes, probe_of_one_second),
        (manifest_rules.images, image_without_tag),
        (manifest_rules.images, image_of_any_version),
        (manifest_rules.closed_doors, open_client),
        (manifest_rules.closed_doors, broker_open_on_all_ports),
        (manifest_rules.closed_doors, no_default),
    ],
    ids=lambda function: function.__name__,
)
def test_a_rule_finds_the_damage_it_is_there_for(rule: Rule, damage: Callable[[list[Manifest]], None]) -> None:
    # Given the base with one thing wrong
    objects = copy.deepcopy(OBJECTS)
    damage(objects)

    # When the rule looks at it
    problems = list(rule(objects))

    # Then it says so
    assert problems


def test_a_file_that_is_named_but_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namespace: fluffle\nresources: [server.yaml]\n")
    with pytest.raises(FileNotFoundError, match=r"server\.yaml"):
        kustomize.build(tmp_path)


def test_a_part_of_kustomize_that_the_loader_lacks_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namespace: fluffle\nresources: []\nnamePrefix: test-\n")
    with pytest.raises(ValueError, match="namePrefix"):
        kustomize.build(tmp_path)


def test_every_file_of_the_base_is_used() -> None:
    kustomization = (BASE / "kustomization.yaml").read_text()
    files = {str(path.relative_to(BASE)) for path in BASE.rglob("*") if path.is_file()} - {"kustomization.yaml"}
    assert [name for name in sorted(files) if name not in kustomization] == []


def test_two_workers_stand_by_for_each_other() -> None:
    assert named("Deployment", "fluffle-server")["spec"]["replicas"] >= 2
    assert named("PodDisruptionBudget", "fluffle-server")["spec"]["minAvailable"] >= 1


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "fluffle-server"), ("StatefulSet", "fluffle-client")])
def test_our_images_carry_the_version_of_the_package(kind: str, name: str) -> None:
    assert container(kind, name)["image"].partition(":")[2] == fl.__version__


def test_the_url_and_the_user_that_rabbitmq_creates_agree() -> None:
    # Given the Secret that RabbitMQ, workers and clients share
    secret = {key: base64.b64decode(value).decode() for key, value in named("Secret", "broker")["data"].items()}

    # When the URL is taken apart
    url = urlsplit(secret["FLUFFLE_BROKER"])

    # Then it is the user, password and virtual host of RabbitMQ's first start, at its service
    assert (url.username, url.password) == (secret["RABBITMQ_DEFAULT_USER"], secret["RABBITMQ_DEFAULT_PASS"])
    assert url.path == f"/{secret['RABBITMQ_DEFAULT_VHOST']}"
    assert (url.scheme, url.hostname, url.port) == ("amqp", "rabbitmq", 5672)


def client_config() -> dict[str, Any]:
    return tomllib.loads(named("ConfigMap", "client-config")["data"]["client.toml"])


def test_the_clients_configuration_is_one_that_the_daemon_accepts() -> None:
    config = ClientConfig.from_file(BASE / "client.toml")
    assert config.broker is None  # it holds a password, and comes from the Secret


def test_the_client_is_probed_under_its_own_name() -> None:
    client = container("StatefulSet", "fluffle-client")
    for kind in ("readinessProbe", "livenessProbe"):
        assert client[kind]["exec"]["command"] == ["fluffle", "health", "--client", client_config()["name"]]


def test_the_client_keeps_its_state_on_a_volume_of_its_own() -> None:
    mounts = {mount["mountPath"]: mount["name"] for mount in container("StatefulSet", "fluffle-client")["volumeMounts"]}
    claims = named("StatefulSet", "fluffle-client")["spec"]["volumeClaimTemplates"]
    assert [mounts[client_config()["state"]]] == [claim["metadata"]["name"] for claim in claims]


@pytest.mark.parametrize("part", ["train", "valid"])
def test_the_client_finds_its_data_where_its_configuration_says(part: str) -> None:
    # Given where the client looks, and what is mounted there
    config = client_config()[part]
    path = Path(config["path"])
    mounts = {mount["mountPath"]: mount["name"] for mount in container("StatefulSet", "fluffle-client")["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod("StatefulSet", "fluffle-client")["volumes"]}

    # When it opens the file
    table = named("ConfigMap", volumes[mounts[str(path.parent)]]["configMap"]["name"])["data"][path.name]

    # Then the target is one of the columns
    assert config["target"] in next(csv.reader(table.splitlines()))


def test_the_clients_data_are_clevelands_patients_in_numbers() -> None:
    # Given the patients of Cleveland in the example data
    with (ROOT / "fl" / "examples" / "data" / "heart_disease_uci.csv").open(newline="") as file:
        patients = [row for row in csv.DictReader(file) if row["dataset"] == "Cleveland"]

    # When both of the client's tables are read
    rows = [
        tuple(float(row[name]) for name in ("age_decades", "male", "cholesterol_100mgdl", "diseased"))
        for part in ("train", "valid")
        for row in csv.DictReader((BASE / "data" / f"{part}.csv").read_text().splitlines())
    ]

    # Then together they hold each patient once
    expected = [
        (int(p["age"]) / 10, p["sex"] == "Male", int(p["chol"]) / 100, p["num"] != "0")  # True is 1.0
        for p in patients
    ]
    assert sorted(rows) == sorted(expected)
