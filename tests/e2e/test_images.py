"""What is in the running containers of `demo`: the Python that tests run on, and nothing that helps an intruder.

`make soak` looks into those of Valkey, too, which is not there otherwise.
"""

import asyncio

import pytest

from tests.support.cluster import ROOT, Cluster
from tests.support.findings import tell

pytestmark = pytest.mark.usefixtures("bus")

CONTENTS = r"""
[ "$(id -u)" != 0 ] || echo "runs as root"
find / -xdev -type f -perm /6000 2>/dev/null | sed 's/^/setuid or setgid: /'
find / -xdev \( -name ensurepip -o -name 'pip-*.whl' -o -path '*/bin/pip*' -o -path '*/site-packages/pip' \) \
  2>/dev/null | sed 's/^/pip: /'
for name in gcc cc g++ clang; do command -v $name; done | sed 's/^/compiler: /'
find /var/lib/apt/lists /var/cache/apt/archives -type f -size +0 2>/dev/null | sed 's/^/apt: /'
find / -xdev -path /tmp -prune -o -type f -perm -0002 -print 2>/dev/null | sed 's/^/writable by all: /'
if command -v python3 >/dev/null; then
  python3 -c 'import sys; print(*sys.version_info[:2], sep=".")' | sed '/^TESTED$/d; s/^/not the Python of the tests: /'
fi
find / -xdev -path /etc/debian_version -print 2>/dev/null || true
""".replace("TESTED", (ROOT / ".python-version").read_text().strip())
"""Run by the shell of each image. The last line is the control: it shows that `find` can find.

Volumes are file systems of their own, which -xdev leaves out.
"""


async def test_no_container_holds_what_helps_an_intruder(cluster: Cluster, bus: str) -> None:
    components = ("chatserver", "ingress", "postgres", *(["bus"] if bus == "Valkey" else []))
    containers = [
        ("chat", pod["metadata"]["name"], container["name"])
        for component in components
        for pod in await cluster.pods(component)
        for container in pod["spec"]["containers"]
    ]
    operators = await cluster.get("pods", namespace="chatcluster-system")
    containers += [
        ("chatcluster-system", pod["metadata"]["name"], container["name"])
        for pod in operators
        if "deletionTimestamp" not in pod["metadata"]
        for container in pod["spec"]["containers"]
    ]
    assert {name.split("-")[1] for _, name, _ in containers} > set(components), "and the operator's"
    found = await asyncio.gather(*(_contents(cluster, *container) for container in containers))
    tell(f"looked into {len(containers)} containers")
    control = ["/etc/debian_version"]
    wrong = {container: lines for container, lines in zip(containers, found, strict=True) if lines != control}
    assert wrong == {}


async def _contents(cluster: Cluster, namespace: str, pod: str, container: str) -> list[str]:
    printed = await cluster.kubectl("exec", "-n", namespace, pod, "-c", container, "--", "sh", "-c", CONTENTS)
    return printed.splitlines()
