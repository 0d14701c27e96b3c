"""Which pod and container a cgroup path names."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.cgroups import HOST, CgroupOwner, cgroup_owner

UID = "3f1d2c4b-0a1b-4c2d-8e3f-001122334455"
ESCAPED = UID.replace("-", "_")
STATIC = "0123456789abcdef0123456789abcdef"
CONTAINER = "ab" * 32
OTHER = "cd" * 32


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (f"/kubepods/burstable/pod{UID}/{CONTAINER}", CgroupOwner(UID, CONTAINER)),
        (f"/kubepods/besteffort/pod{UID}/{CONTAINER}", CgroupOwner(UID, CONTAINER)),
        (f"/kubepods/pod{UID}/{CONTAINER}", CgroupOwner(UID, CONTAINER)),
        (f"/kubepods/pod{UID}", CgroupOwner(UID, "")),
        (f"/kubepods/burstable/pod{STATIC}/{CONTAINER}", CgroupOwner(STATIC, CONTAINER)),
        (
            "/kubepods.slice/kubepods-burstable.slice/"
            f"kubepods-burstable-pod{ESCAPED}.slice/cri-containerd-{CONTAINER}.scope",
            CgroupOwner(UID, CONTAINER),
        ),
        (
            f"/kubepods.slice/kubepods-pod{ESCAPED}.slice/crio-{CONTAINER}.scope/container",
            CgroupOwner(UID, CONTAINER),
        ),
        (
            f"/kubepods.slice/kubepods-pod{ESCAPED}.slice/crio-conmon-{CONTAINER}.scope",
            CgroupOwner(UID, ""),
        ),
        (
            f"/kubepods.slice/kubepods-pod{ESCAPED}.slice/docker-{CONTAINER}.scope",
            CgroupOwner(UID, CONTAINER),
        ),
        (
            f"/system.slice/containerd.service/kubepods-burstable-pod{ESCAPED}.slice:"
            f"cri-containerd:{CONTAINER}",
            CgroupOwner(UID, CONTAINER),
        ),
        (
            f"/docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/"
            f"kubelet-kubepods-pod{ESCAPED}.slice/cri-containerd-{CONTAINER}.scope",
            CgroupOwner(UID, CONTAINER),
        ),
        (f"/kubepods/pod{UID}/{CONTAINER}/init.scope", CgroupOwner(UID, CONTAINER)),
        (f"/kubepods/pod{UID}/{CONTAINER}/docker/{OTHER}", CgroupOwner(UID, CONTAINER)),
        (f"/docker/{CONTAINER}", CgroupOwner("", CONTAINER)),
        (f"/system.slice/docker-{CONTAINER}.scope", CgroupOwner("", CONTAINER)),
        (f"/machine.slice/libpod-{CONTAINER}.scope", CgroupOwner("", CONTAINER)),
        (f"/machine.slice/libpod-conmon-{CONTAINER}.scope", HOST),
        ("/system.slice/ssh.service", HOST),
        ("/user.slice/user-1000.slice/session-2.scope", HOST),
        ("/", HOST),
        ("", HOST),
        (f"/home/{CONTAINER}", HOST),
        (f"/kubepods/tripod{UID}", HOST),
    ],
)
def test_reads_every_runtimes_form(path: str, owner: CgroupOwner) -> None:
    assert cgroup_owner(path) == owner


@given(st.text(alphabet="/-_:.podslcegk0123456789abf", max_size=200))
def test_any_text_gives_an_owner_made_of_parts_of_it(path: str) -> None:
    owner = cgroup_owner(path)
    assert owner.container_id in path
    assert owner.pod_uid.replace("-", "") in path.replace("-", "").replace("_", "")
    assert re.fullmatch(r"|[0-9a-f-]{36}|[0-9a-f]{32}", owner.pod_uid)


@given(
    st.uuids(),
    st.binary(min_size=32, max_size=32),
    st.sampled_from(["", "burstable", "besteffort"]),
    st.lists(st.sampled_from(["docker", "a.slice", "x", "kubelet"]), max_size=3),
    st.booleans(),
)
def test_both_drivers_name_the_same_owner(
    uid: uuid.UUID, container: bytes, qos: str, outer: list[str], systemd: bool
) -> None:
    cid = container.hex()
    if systemd:
        middle = f"-{qos}" if qos else ""
        parts = ["kubepods.slice", f"kubepods{middle}.slice"] if qos else ["kubepods.slice"]
        escaped = str(uid).replace("-", "_")
        parts += [f"kubepods{middle}-pod{escaped}.slice", f"cri-containerd-{cid}.scope"]
    else:
        parts = ["kubepods", *([qos] if qos else []), f"pod{uid}", cid]
    path = "/" + "/".join([*outer, *parts])
    assert cgroup_owner(path) == CgroupOwner(str(uid), cid)
