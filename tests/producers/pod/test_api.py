"""The pod producer against an API server: lists, watches, and everything that goes wrong there."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from producers.pod import ApiError, PodError, PodObserver, PodSettings
from producers.pod.api_client import ApiClient, service_url
from producers.pod.api_source import AllPods, ApiSource, PodChanged
from producers.pod.observer import api_client
from stream.contract.kinds.pod import PodContainer, PodEvent
from tests.support.keeping_sink import KeepingSink
from tests.support.kubernetes_api import NODE, FakeApi, pod_object
from tests.support.polling import eventually_sync

Observe = Callable[..., PodObserver]
Sink = KeepingSink[PodEvent]
UID = "3f2b8c1e-9d47-4a52-8e0f-5b6c7d8e9f01"
OTHER = "a1b2c3d4-0000-4111-8222-333344445555"


def of(sink: Sink, uid: str) -> list[PodEvent]:
    return sink.events(lambda event: event.pod_uid == uid)


def latest(sink: Sink, uid: str) -> PodEvent | None:
    events = of(sink, uid)
    return events[-1] if events else None


def until(sink: Sink, uid: str, test: Callable[[PodEvent], bool], what: str) -> PodEvent:
    def found() -> PodEvent | None:
        event = latest(sink, uid)
        return event if event is not None and test(event) else None

    event = eventually_sync(found, what=what)
    assert event is not None
    return event


def test_a_listed_pod_is_told_whole(api: FakeApi, sink: Sink, observe: Observe) -> None:
    api.set(pod_object("web-7d4f8c9b6d-x2k4p", UID))
    observe(api)

    event = until(sink, UID, lambda event: event.source == "api", "the pod")

    assert event.action == "observed"
    assert (event.namespace, event.pod) == ("default", "web-7d4f8c9b6d-x2k4p")
    assert (event.workload_kind, event.workload) == ("Deployment", "web")
    assert event.labels == {"app": "web"}, "only the labels that the settings name"
    assert event.containers == [
        PodContainer(name="app", container_id="1" * 64, image="registry/app:1")
    ]
    assert event.hostname == "web-7d4f8c9b6d-x2k4p"
    assert event.phase == "Running"
    assert not event.host_network


def test_only_the_nodes_own_pods_are_asked_for_by_the_nodes_name(
    api: FakeApi, sink: Sink, observe: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTNAME", "tenwatch-node-7xk2p")
    api.set(pod_object("mine", UID))
    api.set(pod_object("elsewhere", OTHER, spec__nodeName="worker-2.example"))
    observe(api)
    until(sink, UID, lambda event: True, "the pod")
    eventually_sync(lambda: api.watches, what="the watch")
    assert {each.query["fieldSelector"] for each in api.requests} == {f"spec.nodeName={NODE}"}
    assert of(sink, OTHER) == []


def test_changes_and_deletions_are_followed(api: FakeApi, sink: Sink, observe: Observe) -> None:
    observe(api)
    eventually_sync(lambda: api.watches, what="the watch")
    api.set(pod_object("web-0", UID, status__phase="Pending", status__containerStatuses=None))
    first = until(sink, UID, lambda event: event.phase == "Pending", "the new pod")
    assert first.containers == [PodContainer(name="app", image="registry/app:1")]
    api.set(pod_object("web-0", UID))
    second = until(sink, UID, lambda event: event.phase == "Running", "the change")
    assert [each.container_id for each in second.containers] == ["1" * 64]
    api.delete(UID)
    last = until(sink, UID, lambda event: event.action == "deleted", "the deletion")
    assert last.pod == "web-0", "a deletion still names what was deleted"
    assert [each.action for each in of(sink, UID)] == ["observed", "observed", "deleted"]


def test_what_did_not_change_is_not_told_again(api: FakeApi, sink: Sink, observe: Observe) -> None:
    observe(api)
    eventually_sync(lambda: api.watches, what="the watch")
    api.set(pod_object("web-0", UID))
    until(sink, UID, lambda event: True, "the pod")
    changed = pod_object("web-0", UID)
    changed["status"]["podIP"] = "10.0.0.99"
    api.set(changed)
    api.set(pod_object("web-1", OTHER))
    until(sink, OTHER, lambda event: True, "a later change")
    assert len(of(sink, UID)) == 1


def test_pods_of_one_name_in_two_namespaces_are_two(
    api: FakeApi, sink: Sink, observe: Observe
) -> None:
    api.set(pod_object("web-0", UID, metadata__namespace="blue"))
    api.set(pod_object("web-0", OTHER, metadata__namespace="green"))
    observe(api)
    assert until(sink, UID, lambda event: True, "one").namespace == "blue"
    assert until(sink, OTHER, lambda event: True, "the other").namespace == "green"


def test_a_static_pod_has_the_uid_that_its_cgroup_has(
    api: FakeApi, sink: Sink, observe: Observe
) -> None:
    static = "0123456789abcdef0123456789abcdef"
    mirror = pod_object("etcd-worker-1", UID, metadata__labels=None, spec__hostNetwork=True)
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = static
    mirror["metadata"]["ownerReferences"][0].update(kind="Node", name=NODE)
    api.set(mirror)
    observe(api)
    event = until(sink, static, lambda event: event.source == "api", "the static pod")
    assert (event.workload_kind, event.workload) == ("Pod", "etcd-worker-1")
    assert event.host_network
    assert event.hostname == "", "it has the node's host name"
    assert of(sink, UID) == []


def test_containers_of_all_kinds_and_the_one_before_a_restart_are_named(
    api: FakeApi, sink: Sink, observe: Observe
) -> None:
    pod = pod_object("web-0", UID)
    pod["spec"]["initContainers"] = [{"name": "setup", "image": "setup:2"}]
    pod["status"]["initContainerStatuses"] = [
        {"name": "setup", "containerID": "cri-o://" + "2" * 64, "lastState": None}
    ]
    pod["status"]["ephemeralContainerStatuses"] = [
        {"name": "debug", "image": "busybox", "containerID": "containerd://" + "3" * 64}
    ]
    pod["status"]["containerStatuses"][0]["lastState"] = {
        "terminated": {"exitCode": 137, "containerID": "containerd://" + "4" * 64}
    }
    api.set(pod)
    observe(api)
    event = until(sink, UID, lambda event: event.source == "api", "the pod")
    assert {(each.name, each.container_id[:1], each.image) for each in event.containers} == {
        ("setup", "2", "setup:2"),
        ("debug", "3", "busybox"),
        ("app", "1", "registry/app:1"),
        ("app", "4", "registry/app:1"),
    }


def test_a_long_list_is_read_page_by_page(api: FakeApi, sink: Sink, observe: Observe) -> None:
    api.page = 3
    uids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(8)]
    for number, uid in enumerate(uids):
        api.set(pod_object(f"web-{number}", uid))
    observe(api)
    for uid in uids:
        until(sink, uid, lambda event: True, "every pod")
    assert len(api.lists) == 3
    assert {each.query["limit"] for each in api.lists} == {"500"}


def test_the_token_is_read_again_for_each_request(
    api: FakeApi, sink: Sink, observe: Observe, account: Path
) -> None:
    observer = observe(api)
    eventually_sync(lambda: api.watches, what="the watch")
    (account / "token").write_text("second-token")
    api.token = "second-token"
    api.end_watches()
    eventually_sync(lambda: len(api.watches) > 1, what="the next watch")
    assert api.watches[-1].token == "second-token"
    eventually_sync(lambda: not observer.degraded(), what="no complaint")
    assert "second-token" not in repr(observer.metrics())


def test_an_expired_version_leads_to_a_new_list_that_finds_deletions(
    api: FakeApi, sink: Sink, observe: Observe
) -> None:
    api.set(pod_object("web-0", UID))
    api.set(pod_object("web-1", OTHER))
    observe(api)
    eventually_sync(lambda: api.watches, what="the watch")
    api.delete(UID, tell=False)
    api.expire()
    api.end_watches()
    until(sink, UID, lambda event: event.action == "deleted", "the missed deletion")
    assert len(api.lists) == 2
    latest_other = latest(sink, OTHER)
    assert latest_other is not None
    assert latest_other.action == "observed"


def test_gone_inside_a_watch_leads_to_a_new_list(
    api: FakeApi, sink: Sink, observe: Observe
) -> None:
    observer = observe(api)
    eventually_sync(lambda: api.watches, what="the watch")
    api.pods[UID] = pod_object("web-0", UID)
    api.fail_watches(410, "Expired")
    until(sink, UID, lambda event: True, "what only a list tells")
    assert len(api.lists) == 2
    assert observer.metrics()["pod_api_failures_total"] == 0, "an expiry is no failure"


def test_a_watch_goes_on_where_the_last_bookmark_was(
    api: FakeApi, sink: Sink, observe: Observe
) -> None:
    observe(api)
    eventually_sync(lambda: api.watches, what="the watch")
    version = api.bookmark()

    def goes_on() -> bool:
        api.end_watches()
        return api.watches[-1].query["resourceVersion"] == str(version)

    eventually_sync(goes_on, what="a watch from the bookmark on", interval=0.1)
    assert api.watches[0].query["allowWatchBookmarks"] == "true"
    assert len(api.lists) == 1


def test_a_server_that_dies_and_comes_back_is_followed_again(
    api: FakeApi, sink: Sink, observe: Observe, certificate: tuple[Path, Path]
) -> None:
    api.set(pod_object("web-0", UID))
    observer = observe(api, backoff_seconds=1.0)
    until(sink, UID, lambda event: True, "the pod")
    port = int(api.url.rpartition(":")[2])
    api.stop()
    eventually_sync(
        lambda: any("known from the node alone" in each for each in observer.degraded()),
        what="the complaint",
    )
    assert observer.ready() is None, "the node's word is still there"
    api.delete(UID, tell=False)
    api.set(pod_object("web-1", OTHER))
    api.expire()
    api.start(*certificate, port=port)
    until(sink, OTHER, lambda event: True, "what came meanwhile")
    until(sink, UID, lambda event: event.action == "deleted", "what went meanwhile")
    eventually_sync(lambda: not observer.degraded(), what="no complaint")


def test_a_refusal_says_what_to_do(api: FakeApi, observe: Observe) -> None:
    api.refuse = [(403, {})] * 50
    observer = observe(api)
    eventually_sync(
        lambda: any("list and watch pods" in each for each in observer.degraded()),
        what="the advice",
    )


def test_the_server_may_ask_to_wait(api: FakeApi, sink: Sink, observe: Observe) -> None:
    api.refuse = [(429, {"Retry-After": "1"})]
    api.set(pod_object("web-0", UID))
    observe(api)
    until(sink, UID, lambda event: True, "the pod")
    assert api.lists[1].at - api.lists[0].at >= 1.0


def test_an_unknown_certificate_is_not_trusted(api: FakeApi, account: Path, tmp_path: Path) -> None:
    (account / "ca.crt").unlink()
    client = ApiClient(api.url, NODE, account)
    with pytest.raises(ApiError, match="automountServiceAccountToken"):
        list(client.pages())
    (account / "ca.crt").write_bytes(Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
    with pytest.raises(ApiError, match="CERTIFICATE_VERIFY_FAILED"):
        list(client.pages())
    assert api.requests == [], "no token was sent to a stranger"


def test_a_token_never_travels_in_clear(account: Path) -> None:
    plain = FakeApi(token="")
    plain.start(None, None)
    assert [each.items for each in ApiClient(plain.url, NODE, account).pages()] == [[]]
    plain.stop()
    assert [each.token for each in plain.requests] == [""]


def test_an_answer_that_is_no_list_is_an_error_of_the_package(api: FakeApi, account: Path) -> None:
    api.refuse = [(200, {})]
    with pytest.raises(ApiError, match="can't be read"):
        list(ApiClient(api.url, NODE, account).pages())


class Latest(random.Random):
    """Draws the latest moment."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_first_list_waits_its_random_time(api: FakeApi, account: Path) -> None:
    settings = PodSettings(start_jitter_seconds=0.7)
    client = ApiClient(api.url, NODE, account)
    source = ApiSource(client, settings, lambda: None, Latest())
    began = time.monotonic()
    source.start()
    eventually_sync(lambda: api.lists, what="the list")
    source.stop()
    assert api.lists[0].at - began >= 0.7


def test_many_producers_that_start_at_once_spread_over_the_jitter() -> None:
    draws = [random.Random(seed).uniform(0, 5) for seed in range(1000)]
    busiest = max(sum(second <= each < second + 1 for each in draws) for second in range(5))
    assert busiest < 300


def test_retries_get_longer_up_to_the_limit(api: FakeApi, account: Path) -> None:
    client = ApiClient(api.url, NODE, account)
    source = ApiSource(client, PodSettings(backoff_seconds=30), lambda: None, Latest())
    pauses = [source._pause(failures, 0) for failures in range(1, 12)]
    assert pauses[:4] == [0.5, 1, 2, 4]
    assert pauses[-1] == 30
    assert source._pause(1, 12.0) == 12


def test_a_reader_that_is_busy_loses_nothing(api: FakeApi, account: Path) -> None:
    client = ApiClient(api.url, NODE, account)
    woken = threading.Event()
    source = ApiSource(client, PodSettings(start_jitter_seconds=0), woken.set)
    source.start()
    eventually_sync(lambda: api.watches, what="the watch")
    count = source.changes.maxsize + 50
    uids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(count)]
    for number, uid in enumerate(uids):
        api.set(pod_object(f"web-{number}", uid))
    eventually_sync(source.changes.full, what="a full queue")
    seen: list[str] = []
    while len(seen) < count:
        change = source.changes.get(timeout=10)
        if isinstance(change, PodChanged):
            seen.append(change.record.uid)
        else:
            assert isinstance(change, AllPods)
    source.stop()
    assert seen == uids


def test_the_api_is_used_where_a_service_account_is_mounted(account: Path, tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert service_url(environment) == "https://10.96.0.1:6443"
    assert service_url({"KUBERNETES_SERVICE_HOST": "fd00::1"}) == "https://[fd00::1]:443"
    assert service_url({}) == ""
    with_account = PodSettings(service_account=account)
    without = PodSettings(service_account=tmp_path / "nothing")
    assert api_client(NODE, with_account, environment) is not None
    assert api_client(NODE, with_account, {}) is None
    assert api_client(NODE, without, environment) is None
    with pytest.raises(PodError, match=r"pod\.api_url"):
        PodObserver(NODE, PodSettings(api="on", service_account=account), {})
