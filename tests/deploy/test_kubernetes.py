"""The Kubernetes manifests: valid for KubeRay's CRDs and Ray's autoscaler, complete, and closed by default.

No cluster is asked: what is checked is the text that `kubectl apply` would send.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from grasp_ray import __version__
from grasp_ray.config import load_config
from tests.deploy.pins import pinned

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy/kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for file in sorted(FOLDER.glob("*.yaml"))
    if file.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(file.read_text())
]
GENERATED = {entry["name"] for entry in KUSTOMIZATION["configMapGenerator"]}


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in MANIFESTS if manifest["kind"] == kind]


def only(kind: str) -> dict[str, Any]:
    (manifest,) = of_kind(kind)
    return manifest


def dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping at any depth."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from dictionaries(inner)


def pods() -> list[dict[str, Any]]:
    """Every pod's spec."""
    return [value for value in dictionaries(MANIFESTS) if "containers" in value]


LABELLED_PODS = [
    value
    for value in dictionaries(MANIFESTS)
    if "containers" in value.get("spec", {}) and "labels" in value.get("metadata", {})
]
CONTAINERS = [container for pod in pods() for container in pod["containers"]]


def container(name: str) -> dict[str, Any]:
    (found,) = [one for one in CONTAINERS if one["name"] == name]
    return found


def environment(name: str) -> dict[str, str]:
    """The variables of a container that are written out."""
    return {variable["name"]: variable["value"] for variable in container(name)["env"] if "value" in variable}


def node_types() -> dict[str, Any]:
    """What Ray's autoscaler reads from the RayCluster, checked by it against ray-schema.json."""
    named = {**only("RayCluster"), "metadata": {"name": "any", "namespace": "any"}}
    types: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(named)["available_node_types"]
    return types


# --- Ray's resources ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_ray_resources_satisfy_the_operators_crds(kind: str, shared_data: Path) -> None:
    crd_file = shared_data / "kuberay_crds" / f"ray.io_{kind.lower()}s.yaml"
    if not crd_file.exists():
        pytest.skip(f"no {crd_file.name} among the shared data")
    manifest = only(kind)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast on these long files
    versions = yaml.load(crd_file.read_text(), Loader=loader)["spec"]["versions"]
    (schema,) = [
        version["schema"]["openAPIV3Schema"]
        for version in versions
        if f"ray.io/{version['name']}" == manifest["apiVersion"]
    ]
    closed(schema)
    jsonschema.validate(manifest, schema)
    with pytest.raises(jsonschema.ValidationError, match="entrypiont"):
        jsonschema.validate({**manifest, "spec": {**manifest["spec"], "entrypiont": "typo"}}, schema)


def closed(schema: dict[str, Any]) -> None:
    """Refuse unknown fields, as `kubectl apply` does; CRDs say integer-or-string in their own way."""
    for part in dictionaries(schema):
        if part.get("x-kubernetes-int-or-string"):
            part["type"] = ["integer", "string"]
        if "properties" in part and part.get("type") == "object" and part["properties"]:
            part.setdefault("additionalProperties", False)


def test_the_head_has_no_gpu_and_a_worker_those_of_the_papers_recipe() -> None:
    head, workers = node_types()["headgroup"], node_types()["a100"]
    assert head["resources"]["CPU"] == 0
    assert "GPU" not in head["resources"]
    assert workers["resources"]["GPU"] == load_config(str(PROJECT / "conf/paper.yaml")).train.num_workers
    assert (workers["min_workers"], workers["max_workers"]) == (0, 2)


def test_jobs_wait_for_a_slot_that_only_gpu_workers_have() -> None:
    wanted = [only("RayJob")["spec"]["entrypointResources"], environment("submit")["JOB_RESOURCES"]]
    for resource, amount in (item for text in wanted for item in json.loads(text).items()):
        assert node_types()["a100"]["resources"][resource] == amount
        assert resource not in node_types()["headgroup"]["resources"]


@pytest.mark.parametrize("kind", ["RayJob", "CronJob"])
def test_jobs_run_files_of_the_image_with_settings_that_exist(kind: str) -> None:
    _, *files = only("RayJob")["spec"]["entrypoint"].split()
    files, overrides = files[:2], files[2:]
    if kind == "CronJob":
        files, overrides = container("submit")["command"][:1], container("submit")["args"]
    in_image = [PROJECT / Path(file).relative_to("/srv/grasp_ray") for file in files]
    assert [file for file in in_image if not file.is_file()] == []

    config = load_config(str(PROJECT / "conf/paper.yaml"), ["run.name=any", *overrides])
    assert config.cluster.actors == config.train.num_workers
    assert config.track.uri == f"http://{only('Deployment')['metadata']['name']}:5000"


# --- all resources --------------------------------------------------------------------------------


def test_the_kustomization_lists_every_manifest_but_the_job_that_is_started_by_hand() -> None:
    files = {file.name for file in FOLDER.glob("*.yaml")}
    assert files - set(KUSTOMIZATION["resources"]) == {"kustomization.yaml", "audit_job.yaml"}
    assert only("RayJob")["metadata"]["namespace"] == KUSTOMIZATION["namespace"]
    assert only("Namespace")["metadata"]["name"] == KUSTOMIZATION["namespace"]


def test_versions_are_those_of_constraints() -> None:
    assert only("RayCluster")["spec"]["rayVersion"] == pinned()["ray"]
    assert {image["newTag"] for image in KUSTOMIZATION["images"]} == {__version__}
    for one in CONTAINERS:
        name, _, tag = one["image"].rpartition(":")
        assert (tag == __version__) if name == "grasp-ray" else re.fullmatch(r"\d+\.\d+", tag), name


def test_pods_meet_the_restricted_pod_security_standard() -> None:
    assert only("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    autoscaler = only("RayCluster")["spec"]["autoscalerOptions"]
    unprivileged = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for one in [*CONTAINERS, autoscaler]:
        assert one["securityContext"] == unprivileged
        assert all({"cpu", "memory"} <= one["resources"][bound].keys() for bound in ("requests", "limits"))


def test_nothing_is_exposed_beyond_the_cluster() -> None:
    assert of_kind("Ingress") == []
    assert {service["spec"].get("type", "ClusterIP") for service in of_kind("Service")} == {"ClusterIP"}
    assert only("RayCluster")["spec"]["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert not any("hostPort" in port for one in CONTAINERS for port in one.get("ports", ()))


def test_ray_asks_for_a_token_and_mlflow_for_an_account() -> None:
    assert only("RayCluster")["spec"]["authOptions"] == {"mode": "token"}
    assert environment("submit")["RAY_AUTH_MODE"] == "token"
    assert "basic-auth" in container("mlflow")["command"]
    hosts = environment("mlflow")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "mlflow:5000" in hosts
    assert not any("*" in host for host in hosts)


def test_no_pod_is_given_variables_named_for_services() -> None:
    # MLFLOW_PORT=tcp://… of a service named mlflow would be read as the server's port
    assert all(pod["enableServiceLinks"] is False for pod in pods())


# --- names that refer to others -------------------------------------------------------------------


def test_no_secret_is_written_out() -> None:
    assert of_kind("Secret") == []
    named_secret = re.compile("password|token$|secret|access_key", re.IGNORECASE)
    for variable in (variable for one in CONTAINERS for variable in one["env"]):
        if named_secret.search(variable["name"]):
            assert "secretKeyRef" in variable["valueFrom"], variable["name"]
    files = [file.read_text() for file in FOLDER.iterdir()]
    assert not any(re.search(r"://[^/\s]*:[^/\s]*@", text) for text in files)


def test_secrets_are_documented_prerequisites_with_these_keys() -> None:
    page = (PROJECT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \|", page.partition("### Secrets")[2], re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", keys)) for name, keys in rows}
    used: dict[str, set[str]] = {}
    for reference in (value["secretKeyRef"] for value in dictionaries(MANIFESTS) if "secretKeyRef" in value):
        used.setdefault(reference["name"], set()).add(reference["key"])
    assert used == documented


def test_claims_config_maps_and_services_that_are_named_exist() -> None:
    claims = {claim["metadata"]["name"] for claim in of_kind("PersistentVolumeClaim")}
    named = [value["claimName"] for value in dictionaries(MANIFESTS) if "claimName" in value]
    assert set(named) == claims

    (generator,) = KUSTOMIZATION["configMapGenerator"]
    keys = {literal.partition("=")[0] for literal in generator["literals"]} | set(generator["files"])
    references = [value["configMapKeyRef"] for value in dictionaries(MANIFESTS) if "configMapKeyRef" in value]
    assert all(reference["name"] in GENERATED and reference["key"] in keys for reference in references)
    assert all((FOLDER / file).is_file() for file in generator["files"])

    assert environment("mlflow")["PGHOST"] in {service["metadata"]["name"] for service in of_kind("Service")}
    head_service = f"{only('RayCluster')['metadata']['name']}-head-svc"  # KubeRay's name for it
    assert environment("submit")["RAY_API_SERVER_ADDRESS"] == f"http://{head_service}:8265"
    selector = only("RayJob")["spec"]["clusterSelector"]
    assert selector == {"ray.io/cluster": only("RayCluster")["metadata"]["name"]}


def test_services_select_pods_that_have_their_ports() -> None:
    for service in of_kind("Service"):
        wanted = service["spec"]["selector"].items()
        (pod,) = [one["spec"] for one in LABELLED_PODS if wanted <= one["metadata"]["labels"].items()]
        ports = {port["name"] for one in pod["containers"] for port in one["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_network_policies_close_every_pod_and_select_pods_that_exist() -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind("NetworkPolicy")}
    everything = policies["names-only"]
    assert everything["podSelector"] == {}
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in everything

    cluster = {"ray.io/cluster": only("RayCluster")["metadata"]["name"]}
    labels = [{**cluster, "ray.io/node-type": kind} for kind in ("head", "worker")]  # KubeRay's labels
    labels += [pod["metadata"]["labels"] for pod in LABELLED_PODS]
    for selector in (
        value["podSelector"]
        for value in dictionaries(list(policies.values()))
        if "podSelector" in value and "namespaceSelector" not in value  # other namespaces' pods are not ours
    ):
        wanted = selector.get("matchLabels", {})
        assert any(wanted.items() <= have.items() for have in labels), wanted
