"""What a security team asks of every manifest; what is allowed is listed here."""

import re
from typing import Any

import pytest

Manifest = dict[str, Any]

CAPABILITIES: dict[str, dict[str, set[str]]] = {
    "single": {
        "DaemonSet/process": {"BPF", "PERFMON", "SYS_PTRACE"},
        "DaemonSet/file": {"SYS_ADMIN", "DAC_READ_SEARCH"},
    },
    "course": {"DaemonSet/process": {"BPF", "PERFMON", "SYS_PTRACE"}},
}
CAPABILITIES["production"] = CAPABILITIES["single"]
HOST_PATHS = {
    "DaemonSet/process": {
        "/var/lib/tenwatch/process": "write",
        "/var/lib/tenwatch/credentials": "read",
        "/sys/fs/bpf": "write",
    },
    "DaemonSet/file": {
        "/var/lib/tenwatch/file": "write",
        "/var/lib/tenwatch/credentials": "read",
        "/srv/workspaces": "read",
    },
    "DaemonSet/hostpath": {
        "/var/lib/tenwatch/hostpath": "write",
        "/var/lib/tenwatch/credentials": "read",
        "/srv/workspaces": "read",
    },
    "DaemonSet/node": {
        "/var/lib/tenwatch/node": "write",
        "/var/lib/tenwatch/credentials": "read",
        "/sys/fs/cgroup": "read",
        "/var/log/pods": "read",
        "/var/log/containers": "read",
    },
}
HOST_PIDS = {
    "single": {"DaemonSet/process", "DaemonSet/file", "DaemonSet/node"},
    "production": {"DaemonSet/process", "DaemonSet/file", "DaemonSet/node"},
    "course": {"DaemonSet/process", "DaemonSet/node"},
}
SECRET_LIKE = re.compile(r"password|passwd|seed|token|secret|private", re.IGNORECASE)
NKEY_SEED = re.compile(r"\bS[UAOCNX][A-Z2-7]{56}\b")
PEM_KEY = re.compile(r"BEGIN [A-Z ]*PRIVATE KEY")

Containers = list[tuple[str, Manifest, Manifest]]


def name_of(workload: Manifest) -> str:
    return f"{workload['kind']}/{workload['metadata']['name']}"


def test_the_parts_are_there(workloads: list[Manifest], overlay: str) -> None:
    expected = {
        "DaemonSet/process", "DaemonSet/file", "DaemonSet/hostpath", "DaemonSet/node",
        "StatefulSet/nats", "StatefulSet/worker", "Job/streams",
    }  # fmt: skip
    expected |= (
        {"Deployment/sink", "Job/schema"} if overlay == "production" else {"StatefulSet/sink"}
    )
    assert {name_of(each) for each in workloads} == expected


def test_a_container_has_the_capabilities_listed_and_no_way_to_more(
    containers: Containers, overlay: str
) -> None:
    for name, container, pod in containers:
        context = container["securityContext"]
        assert context.get("privileged", False) is False, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"]["drop"] == ["ALL"], name
        added = set(context["capabilities"].get("add") or ())
        assert added == CAPABILITIES[overlay].get(name, set()), name
        assert context["readOnlyRootFilesystem"] is True, name
        for level in (pod["securityContext"], context):
            assert "procMount" not in level, name
            assert level.get("seccompProfile", {"type": "RuntimeDefault"}) == {
                "type": "RuntimeDefault"
            }, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name


def test_only_what_needs_a_capability_is_root(containers: Containers, overlay: str) -> None:
    for name, container, pod in containers:
        context = pod["securityContext"] | {
            key: value
            for key, value in container["securityContext"].items()
            if key.startswith("runAs")
        }
        if name in CAPABILITIES[overlay]:
            assert context["runAsUser"] == 0, name
        else:
            assert context["runAsNonRoot"] is True, name
            assert context["runAsUser"] > 0, name


def test_a_pod_shares_no_more_with_its_node_than_listed(
    workloads: list[Manifest], overlay: str
) -> None:
    for workload in workloads:
        name, pod = name_of(workload), workload["spec"]["template"]["spec"]
        assert not pod.get("hostNetwork"), name
        assert not pod.get("hostIPC"), name
        assert bool(pod.get("hostPID")) == (name in HOST_PIDS[overlay]), name
        for container in pod["containers"]:
            assert not any("hostPort" in port for port in container.get("ports", ())), name


def test_host_paths_are_listed_and_read_only_but_for_those_that_must_be_written(
    workloads: list[Manifest],
) -> None:
    for workload in workloads:
        name, pod = name_of(workload), workload["spec"]["template"]["spec"]
        mounted = {}
        for volume in pod.get("volumes", ()):
            if "hostPath" not in volume:
                continue
            mounts = [
                mount
                for container in pod["containers"]
                for mount in container["volumeMounts"]
                if mount["name"] == volume["name"]
            ]
            assert mounts, f"{name} mounts {volume['name']} nowhere"
            read_only = all(mount.get("readOnly") for mount in mounts)
            mounted[volume["hostPath"]["path"]] = "read" if read_only else "write"
            assert volume["hostPath"].get("type"), name
        assert mounted == HOST_PATHS.get(name, {}), name


def test_only_the_pod_producer_has_a_token_and_may_only_read_pods(
    manifests: list[Manifest], workloads: list[Manifest]
) -> None:
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        token = pod["automountServiceAccountToken"]
        assert token is (name_of(workload) == "DaemonSet/node"), name_of(workload)
        assert pod["serviceAccountName"] != "default"
    roles = [each for each in manifests if each["kind"] in ("Role", "ClusterRole")]
    assert [each["rules"] for each in roles] == [
        [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    ]
    bindings = [each for each in manifests if each["kind"].endswith("RoleBinding")]
    assert [each["subjects"] for each in bindings] == [
        [{"kind": "ServiceAccount", "name": "node", "namespace": "tenwatch-agents"}]
    ]


def test_every_container_has_requests_limits_and_probes(containers: Containers) -> None:
    for name, container, _ in containers:
        resources = container["resources"]
        for which in ("requests", "limits"):
            assert set(resources[which]) >= {"cpu", "memory"}, f"{name} {which}"
        if not name.startswith("Job/"):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["httpGet"]["path"], f"{name} {probe}"
            ports = {port["name"] for port in container["ports"]}
            assert container["readinessProbe"]["httpGet"]["port"] in ports, name


def test_every_image_has_a_version(containers: Containers) -> None:
    for name, container, _ in containers:
        image = container["image"]
        tag = image.rpartition("@")[2] if "@" in image else image.rpartition(":")[2]
        assert re.fullmatch(r"sha256:[0-9a-f]{64}|v?\d+\.\d+\.\d+([-.]\w+)*", tag), (
            f"{name} {image}"
        )


def test_no_manifest_holds_a_secret(manifests: list[Manifest], containers: Containers) -> None:
    assert not [each for each in manifests if each["kind"] == "Secret"]
    text = repr(manifests)
    assert not NKEY_SEED.search(text)
    assert not PEM_KEY.search(text)
    for name, container, _ in containers:
        for variable in container.get("env", ()):
            if "value" in variable and SECRET_LIKE.search(variable["name"]):
                pytest.fail(f"{name} has {variable['name']} in clear")
        for argument in (*container.get("args", ()), *container.get("command", ())):
            assert not SECRET_LIKE.search(argument), name
    for each in manifests:
        if each["kind"] == "ConfigMap":
            for key in each.get("data", {}):
                assert not re.search(r"PASSWORD|SEED|TOKEN", key), key


def test_both_namespaces_deny_all_traffic_that_no_policy_allows(manifests: list[Manifest]) -> None:
    spaces = {each["metadata"]["name"] for each in manifests if each["kind"] == "Namespace"}
    assert spaces == {"tenwatch", "tenwatch-agents"}
    for space in spaces:
        denying = [
            each
            for each in manifests
            if each["kind"] == "NetworkPolicy"
            and each["metadata"]["namespace"] == space
            and each["spec"]["podSelector"] == {}
            and set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}
            and "ingress" not in each["spec"]
            and "egress" not in each["spec"]
        ]
        assert len(denying) == 1, space


def test_the_restricted_namespace_holds_nothing_that_its_label_forbids(
    manifests: list[Manifest], workloads: list[Manifest]
) -> None:
    labels = {
        each["metadata"]["name"]: each["metadata"]["labels"]
        for each in manifests
        if each["kind"] == "Namespace"
    }
    level = "pod-security.kubernetes.io/enforce"
    assert labels["tenwatch"][level] == "restricted"
    assert labels["tenwatch-agents"][level] == "privileged"
    for workload in workloads:
        if workload["metadata"]["namespace"] != "tenwatch":
            continue
        pod = workload["spec"]["template"]["spec"]
        # Source: kubernetes.io, "Pod Security Standards", Restricted: the volume types.
        allowed = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
        for volume in pod.get("volumes", ()):
            assert set(volume) - {"name"} <= allowed, name_of(workload)
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_agents_run_on_every_node_and_outlive_pressure(workloads: list[Manifest]) -> None:
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        if workload["kind"] == "DaemonSet":
            assert {"operator": "Exists"} in pod["tolerations"]
            assert pod["priorityClassName"] == "tenwatch-agents"
            update = workload["spec"]["updateStrategy"]
            assert update["type"] == "RollingUpdate"
            # Two at once would count everything twice.
            assert update["rollingUpdate"]["maxSurge"] == 0
        if workload["kind"] != "Job":
            assert pod["terminationGracePeriodSeconds"] >= 30


def test_selectors_and_names_that_refer_to_something_find_it(
    manifests: list[Manifest], workloads: list[Manifest]
) -> None:
    known = {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
             for each in manifests}  # fmt: skip
    # What k8s/credentials.py makes.
    made = {"nats-users", "tenwatch-admin", "tenwatch-worker", "tenwatch-sink", "nats-tls"}
    for workload in workloads:
        space, pod = workload["metadata"]["namespace"], workload["spec"]["template"]["spec"]
        assert ("ServiceAccount", space, pod["serviceAccountName"]) in known
        assert pod.get("priorityClassName", "tenwatch") in {"tenwatch", "tenwatch-agents"}
        for container in pod["containers"]:
            volumes = {each["name"] for each in pod.get("volumes", ())}
            volumes |= {each["metadata"]["name"]
                        for each in workload["spec"].get("volumeClaimTemplates", ())}  # fmt: skip
            assert {each["name"] for each in container["volumeMounts"]} <= volumes
            for source in container.get("envFrom", ()):
                assert ("ConfigMap", space, source["configMapRef"]["name"]) in known
        for volume in pod.get("volumes", ()):
            if "secret" in volume:
                assert volume["secret"]["secretName"] in made
            if "configMap" in volume and volume["configMap"]["name"] != "nats-authority":
                assert ("ConfigMap", space, volume["configMap"]["name"]) in known
    for each in manifests:
        selector = each["spec"].get("selector") if each["kind"] == "Service" else None
        if each["kind"] == "PodDisruptionBudget":
            selector = each["spec"]["selector"]["matchLabels"]
        if selector:
            matching = [
                workload
                for workload in workloads
                if workload["metadata"]["namespace"] == each["metadata"]["namespace"]
                and selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
            ]
            assert matching, each["metadata"]["name"]
