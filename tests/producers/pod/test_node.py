"""The pod producer without an API: what a node's own folders, cgroups and processes tell."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from producers.pod import NoPodSourceError, PodObserver, PodSettings
from producers.pod.bundles import read_bundle
from producers.pod.node_source import NodeSource
from stream.contract.kinds.pod import PodContainer, PodEvent
from stream.contract.timestamps import parse_timestamp
from tests.support.containers import Containers, require_root
from tests.support.keeping_sink import KeepingSink
from tests.support.kubernetes_api import NODE, FakeApi, pod_object
from tests.support.polling import eventually_sync

Observe = Callable[..., PodObserver]
Sink = KeepingSink[PodEvent]
UID = "3f2b8c1e-9d47-4a52-8e0f-5b6c7d8e9f01"
OTHER = "a1b2c3d4-0000-4111-8222-333344445555"
STATIC = "0123456789abcdef0123456789abcdef"
APP, PAUSE = "1" * 64, "2" * 64


class Node(Protocol):
    root: Path
    logs: Path

    def pod(self, namespace: str, name: str, uid: str) -> Path: ...
    def link(self, pod: Path, container: str, container_id: str) -> None: ...
    def bundle(self, container_id: str, config: dict[str, Any]) -> None: ...


def latest(sink: Sink, uid: str) -> PodEvent | None:
    events = sink.events(lambda event: event.pod_uid == uid)
    return events[-1] if events else None


def until(sink: Sink, uid: str, test: Callable[[PodEvent], bool], what: str) -> PodEvent:
    def found() -> PodEvent | None:
        event = latest(sink, uid)
        return event if event is not None and test(event) else None

    event = eventually_sync(found, what=what)
    assert event is not None
    return event


def containerd(kind: str, name: str, pod: str, uid: str, *, network: bool = True) -> dict[str, Any]:
    return {
        "ociVersion": "1.1.0",
        "process": {"args": ["/app"], "env": ["SECRET=x"]},
        "hostname": pod,
        "annotations": {
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.container-name": name,
            "io.kubernetes.cri.image-name": "registry/app:1",
            "io.kubernetes.cri.sandbox-id": PAUSE,
            "io.kubernetes.cri.sandbox-name": pod,
            "io.kubernetes.cri.sandbox-namespace": "default",
            "io.kubernetes.cri.sandbox-uid": uid,
        },
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}]
            + ([{"type": "network", "path": "/run/netns/cni-1"}] if network else [])
        },
    }


def test_what_is_there_is_told_before_start_returns(
    node: Node, sink: Sink, observe: Observe
) -> None:
    node.link(node.pod("shop", "web-7d4f8c9b6d-x2k4p", UID), "app", APP)
    node.pod("kube-system", "etcd-worker-1", STATIC)
    observe()
    events = {each.pod_uid: each for each in sink.events()}
    assert set(events) == {UID, STATIC}
    web = events[UID]
    assert (web.namespace, web.pod, web.source) == ("shop", "web-7d4f8c9b6d-x2k4p", "node")
    assert (web.workload_kind, web.workload) == ("Deployment", "web")
    assert web.containers == [PodContainer(name="app", container_id=APP)]
    assert events[STATIC].pod == "etcd-worker-1"
    assert events[STATIC].workload == "", "a name that proves nothing is no guess"


def test_a_pod_that_comes_changes_and_goes_is_noticed_at_once(
    node: Node, sink: Sink, observe: Observe
) -> None:
    observe(scan_seconds=300)
    folder = node.pod("shop", "web-0", UID)
    until(sink, UID, lambda event: not event.containers, "the new pod")
    (node.logs / "containers").mkdir()
    node.link(folder, "app", APP)
    other = node.pod("shop", "web-1", OTHER)
    until(sink, UID, lambda event: [each.name for each in event.containers] == ["app"], "its app")
    shutil.rmtree(folder)
    last = until(sink, UID, lambda event: event.action == "deleted", "its end")
    assert (last.namespace, last.pod) == ("shop", "web-0")
    node.link(other, "app", PAUSE)
    until(sink, OTHER, lambda event: bool(event.containers), "the other's app")


def test_without_inotify_the_next_scan_finds_everything(
    node: Node, sink: Sink, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("producers.pod.node_source.Inotify.__init__", refuse)
    observer = observe(scan_seconds=0.2)
    assert any("max_user_instances" in each for each in observer.degraded())
    folder = node.pod("shop", "web-0", UID)
    until(sink, UID, lambda event: event.action == "observed", "the pod")
    shutil.rmtree(folder)
    until(sink, UID, lambda event: event.action == "deleted", "its end")


def test_a_pod_made_again_under_its_name_is_another_one(
    node: Node, sink: Sink, observe: Observe
) -> None:
    observe()
    folder = node.pod("shop", "db-0", UID)
    until(sink, UID, lambda event: True, "the first")
    shutil.rmtree(folder)
    node.link(node.pod("shop", "db-0", OTHER), "db", APP)
    until(sink, UID, lambda event: event.action == "deleted", "the first one's end")
    second = until(sink, OTHER, lambda event: bool(event.containers), "the second")
    assert second.action == "observed"


def test_everything_is_told_again_at_the_heartbeat(
    node: Node, sink: Sink, observe: Observe
) -> None:
    node.pod("shop", "web-0", UID)
    observe(heartbeat_seconds=1.0)
    eventually_sync(lambda: len(sink.events()) >= 3, what="two heartbeats")
    first, second, third = sink.events()[:3]
    assert first.ts < second.ts < third.ts
    assert (first.pod_uid, first.pod) == (second.pod_uid, second.pod) == (UID, "web-0")


def test_names_that_are_no_pods_are_passed_over(node: Node, sink: Sink, observe: Observe) -> None:
    for name in ("lost+found", "a_b", "x_y_not-a-uid!", "A_b_" + UID, "..._._" + UID):
        (node.logs / "pods" / name).mkdir()
    (node.logs / "containers").mkdir()
    (node.logs / "containers" / f"p_n_c-{APP}.log").symlink_to("/somewhere/else/0.log")
    (node.logs / "containers" / f"q_n_c-{APP}.log").write_text("no link")
    node.pod("shop", "web-0", UID)
    observe()
    assert {each.pod_uid for each in sink.events()} == {UID}


def test_a_runtimes_configuration_names_containers_before_any_log(
    node: Node, sink: Sink, observe: Observe
) -> None:
    scope = f"kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-"
    for container_id in (APP, PAUSE):
        (node.root / "cgroup" / f"{scope}{container_id}.scope").mkdir(parents=True)
    node.bundle(APP, containerd("container", "app", "web-0", UID))
    node.bundle(PAUSE, containerd("sandbox", "", "web-0", UID))
    observe()
    (event,) = sink.events()
    assert (event.namespace, event.pod, event.hostname) == ("default", "web-0", "web-0")
    assert event.containers == [
        PodContainer(name="POD", container_id=PAUSE, image="registry/app:1"),
        PodContainer(name="app", container_id=APP, image="registry/app:1"),
    ]
    assert not event.host_network
    assert "SECRET" not in repr(event)


def test_a_sandbox_without_a_network_namespace_is_on_the_hosts(node: Node) -> None:
    patterns = [str(node.root / "bundles/{id}/config.json")]
    node.bundle(PAUSE, containerd("sandbox", "", "agent", UID, network=False))
    node.bundle(APP, containerd("container", "app", "agent", UID))
    sandbox, app = (read_bundle(patterns, each) for each in (PAUSE, APP))
    assert sandbox is not None
    assert app is not None
    assert (sandbox.host_network, sandbox.hostname) == (True, "")
    assert app.host_network is None, "it joins the sandbox's namespace, whichever that is"


def test_crios_notes_are_understood_too(node: Node) -> None:
    node.bundle(
        APP,
        {
            "hostname": "web-0",
            "annotations": {
                "io.kubernetes.cri-o.ContainerType": "container",
                "io.kubernetes.cri-o.ImageName": "registry/app:2",
                "io.kubernetes.container.name": "app",
                "io.kubernetes.pod.name": "web-0",
                "io.kubernetes.pod.namespace": "shop",
                "io.kubernetes.pod.uid": UID,
            },
            "linux": {"namespaces": [{"type": "network"}]},
        },
    )
    bundle = read_bundle([str(node.root / "bundles/{id}/config.json")], APP)
    assert bundle is not None
    assert (bundle.container, bundle.pod, bundle.namespace) == ("app", "web-0", "shop")
    assert (bundle.pod_uid, bundle.image) == (UID, "registry/app:2")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"annotations": 5}', "\x00", "{}"])
def test_a_configuration_that_is_none_is_unknown(node: Node, content: str) -> None:
    folder = node.root / "bundles" / APP
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(content)
    assert read_bundle([str(node.root / "bundles/{id}/config.json")], APP) is None
    assert read_bundle([str(node.root / "bundles/{id}/config.json")], "../../etc") is None


def test_a_deletion_in_the_api_outlives_what_is_left_on_the_node(
    node: Node, sink: Sink, observe: Observe, api: FakeApi
) -> None:
    node.link(node.pod("default", "web-0", UID), "app", APP)
    api.set(pod_object("web-0", UID))
    observe(api, heartbeat_seconds=1.0)
    until(sink, UID, lambda event: event.source == "api", "the API's word")
    api.delete(UID)
    until(sink, UID, lambda event: event.action == "deleted", "the deletion")
    count = len(sink.events())
    node.pod("shop", "later", OTHER)
    until(sink, OTHER, lambda event: True, "a later pod")
    eventually_sync(lambda: len(sink.events()) > count + 2, what="heartbeats")
    actions = [each.action for each in sink.events(lambda event: event.pod_uid == UID)]
    assert actions[-1] == "deleted"
    assert actions.count("deleted") == 1


def test_node_and_api_make_one_record(
    node: Node, sink: Sink, observe: Observe, api: FakeApi
) -> None:
    node.link(node.pod("default", "web-7d4f8c9b6d-x2k4p", UID), "app", APP)
    node.link(node.logs / "pods" / f"default_web-7d4f8c9b6d-x2k4p_{UID}", "setup", PAUSE)
    api.refuse = [(503, {})]
    pod = pod_object("web-7d4f8c9b6d-x2k4p", UID)
    api.set(pod)
    observe(api)
    event = until(sink, UID, lambda event: event.source == "api", "the API's word")
    assert [each.source for each in sink.events()] == ["node", "api"]
    assert event.containers == [
        PodContainer(name="app", container_id=APP, image="registry/app:1"),
        PodContainer(name="setup", container_id=PAUSE),
    ]
    assert event.labels == {"app": "web"}


def test_no_event_is_earlier_than_a_promised_watermark(
    node: Node, sink: Sink, observe: Observe
) -> None:
    observe()
    for number in range(5):
        uid = f"00000000-0000-4000-8000-{number:012d}"
        node.pod("shop", f"web-{number}", uid)
        until(sink, uid, lambda event: True, "the pod")
    assert sink.watermarks
    for batches, promised in list(sink.watermarks):
        for batch in list(sink.batches)[batches:]:
            assert all(parse_timestamp(each.ts) > promised for each in batch)


def test_a_machine_that_shows_nothing_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    settings = PodSettings(
        api="off", log_root=tmp_path / "log", cgroup_root=tmp_path / "cgroup", bundles=[]
    )
    with pytest.raises(NoPodSourceError, match="no service account"):
        PodObserver(NODE, settings, {}).start(KeepingSink("pod", PodEvent))


def test_this_machine_without_pods_is_fine(sink: Sink, tmp_path: Path) -> None:
    observer = PodObserver(NODE, PodSettings(api="auto", log_root=tmp_path), {})
    observer.start(sink)
    assert observer.ready() is None
    assert observer.degraded() == []
    threads = {each.name for each in threading.enumerate()}
    assert "pod" in threads
    observer.stop()
    assert observer.ready() == "stopped"


@pytest.mark.parametrize(
    ("field", "value"),
    [("bundles", ["relative/{id}"]), ("bundles", ["/no/place"]), ("api_url", "10.0.0.1:6443")],
)
def test_a_wrong_setting_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        PodSettings(**{field: value})  # type: ignore[arg-type]


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    require_root()
    with Containers(tmp_path) as runtime:
        yield runtime


PAUSE_PROGRAM = ["sh", "-c", "cp /usr/bin/sleep /tmp/pause && exec /tmp/pause 1000"]


def test_real_containers_pause_processes_and_the_hosts_network_are_recognised(
    containers: Containers, node: Node, sink: Sink, observe: Observe
) -> None:
    observe(cgroup_root=Path("/sys/fs/cgroup"), scan_seconds=300)
    plain, on_host = containers.pod(), containers.pod(driver="systemd", qos="besteffort")
    folder = node.pod("shop", "web-7d4f8c9b6d-x2k4p", plain.uid)
    pause = plain.run(PAUSE_PROGRAM)
    app = plain.run(["sleep", "infinity"], network=pause)
    node.link(folder, "app", app.id)
    other = node.pod("kube-system", "proxy-x2k4p", on_host.uid)
    proxy = on_host.run(["sleep", "infinity"], network="host")
    node.link(other, "proxy", proxy.id)

    event = until(
        sink,
        plain.uid,
        lambda event: {each.name for each in event.containers} == {"POD", "app"},
        "both containers",
    )
    assert {each.name: each.container_id for each in event.containers} == {
        "POD": pause.id,
        "app": app.id,
    }
    assert not event.host_network
    until(sink, on_host.uid, lambda event: event.host_network, "the host's network")
    shutil.rmtree(folder)
    assert latest(sink, plain.uid) is not None
    app.close()
    pause.close()
    plain.remove()
    until(sink, plain.uid, lambda event: event.action == "deleted", "its end")


def test_a_pod_whose_folder_is_gone_lives_as_long_as_its_cgroup(
    containers: Containers, node: Node, sink: Sink, observe: Observe
) -> None:
    pod = containers.pod()
    container = pod.run(["sleep", "infinity"])
    node.bundle(container.id, containerd("container", "app", "web-0", pod.uid))
    observe(cgroup_root=Path("/sys/fs/cgroup"))
    event = until(sink, pod.uid, lambda event: bool(event.containers), "the pod by its runtime")
    assert (event.pod, event.containers[0].name) == ("web-0", "app")
    assert event.action == "observed"


def test_a_scan_of_a_full_node_is_quick_enough_to_repeat(node: Node) -> None:
    for number in range(110):
        uid = f"00000000-0000-4000-8000-{number:012d}"
        folder = node.pod("shop", f"web-{number}", uid)
        for index in range(3):
            node.link(folder, f"c{index}", f"{number * 3 + index:064x}")
    source = NodeSource(PodSettings(log_root=node.logs, cgroup_root=node.root / "cgroup"))
    records = source.scan()
    source.close()
    assert len(records) == 110
    assert all(len(each.containers) == 3 for each in records.values())
