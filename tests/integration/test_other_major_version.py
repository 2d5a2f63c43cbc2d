"""The postgres image on the volume of another major version of PostgreSQL: it says so, and changes nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.postgres import PostgresCluster
from tests.support.postgresimage import Pod, unpacked
from tests.support.quorum import FIRST_USER_ID, SCOPE, SECRET

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60

MEMBER = {
    "PATRONI_SCOPE": SCOPE,
    "PATRONI_NAME": f"{SCOPE}-0",
    "PATRONI_KUBERNETES_NAMESPACE": "chat",
    "PATRONI_KUBERNETES_LABELS": "{}",
    "PATRONI_KUBERNETES_SCOPE_LABEL": "database",
    "POD_IP": "127.0.0.1",
}


@pytest.fixture(scope="module")
def image_major() -> str:
    """The image's version."""
    (folder,) = (unpacked() / "usr" / "lib" / "postgresql").iterdir()
    return folder.name


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, image_major: str) -> Path:
    """A database cluster of another version that was shut down, and has content."""
    with PostgresCluster() as cluster:
        cluster.sql("CREATE TABLE kept AS SELECT 1")
        cluster.stop()
        kept = tmp_path_factory.mktemp("other") / "pgdata"
        shutil.copytree(cluster.data, kept)
    version = kept / "PG_VERSION"
    if version.read_text().strip() == image_major:
        # This machine's programs are the image's: only what a volume says of itself differs.
        version.write_text("16\n")
    return kept


def _content(folder: Path) -> dict[str, str]:
    """A hash of each file, and its owner."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): f"{path.stat().st_uid} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in files
    }


@pytest.mark.parametrize("variables", [{}, MEMBER], ids=["one instance", "one of several"])
@pytest.mark.parametrize("begin", ["false", "true"])
def test_it_is_refused_and_stays_as_it_is(
    tmp_path: Path, other: Path, image_major: str, variables: dict[str, str], begin: str
) -> None:
    pod = Pod(tmp_path / "pod", FIRST_USER_ID)
    pod.write("database", SECRET)
    pod.write("postgres", {"postgresql.conf": "work_mem = '5MB'\n", "revision": "c1", "begin": begin})
    data = pod.folder / "volume" / "pgdata"
    shutil.copytree(other, data)
    data.chmod(0o700)
    subprocess.run(["chown", "-R", f"{pod.user_id}:{pod.user_id}", str(data)], check=True)
    before = _content(data)
    # Twice: a container that fails is started again.
    for _ in range(2):
        assert pod.run("postgres", **variables).process.wait(PATIENCE_SECONDS) == 1
    assert _content(data) == before
    assert not data.with_name("pgdata.new").exists()
    last = json.loads((pod.folder / "postgres.log").read_text().splitlines()[-1])
    found = (other / "PG_VERSION").read_text().strip()
    assert f"was made by PostgreSQL {found}, this image runs {image_major}" in last["event"]
    assert (data / "global" / "pg_control").exists()
