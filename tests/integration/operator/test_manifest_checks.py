"""What others' checkers say of all that the operator and the chart make: kubeconform and kube-score."""

from __future__ import annotations

import copy
import fnmatch
import json
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from localcluster import toolchain
from localcluster.progress import Stage
from tests.support import crds
from tests.support.chart import render
from tests.support.cluster import ROOT
from tests.support.goldens import goldens
from tests.support.schemas import FILE_NAME, write, write_crd

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.apiserver import ApiServer

pytestmark = pytest.mark.integration

EXCEPTIONS = ROOT / "tests" / "data" / "kube-score.toml"

KUBERNETES = "v1.34"

GRADE_OK = 10
"""kube-score's own: 1 is critical, 5 a warning, 7 almost well."""

CHARTS: dict[str, tuple[str, ...]] = {
    "chart": (),
    "chart-two-operators": ("replicas=2", "images.registry=registry.example.com/chat/", "images.pullSecrets={mine}"),
    "chart-two-namespaces": ("watchNamespaces={chat,support}",),
}


def manifests() -> dict[str, list[dict[str, Any]]]:
    """All that there is to look at, by file name."""
    charts = {name: render(*values) for name, values in CHARTS.items()}
    examples = {
        f"example-{path.stem}": list(yaml.load_all(path.read_text(), yaml.CSafeLoader))
        for path in (ROOT / "examples").glob("*.yaml")
    }
    return {**goldens(), **charts, **examples}


def written(made: dict[str, list[dict[str, Any]]], folder: Path) -> list[str]:
    """The files' paths."""
    for name, documents in made.items():
        # As the operator sends them. YAML is not the same to all: to some an unquoted 0123456789 is a number.
        (folder / f"{name}.yaml").write_text("\n---\n".join(map(json.dumps, documents)))
    return [str(folder / f"{name}.yaml") for name in made]


def program(name: str, folder: Path) -> str:
    return str(toolchain.ensure(name, Stage(name), folder / "build.log") / name)


def kubeconform(folder: Path, schemas: Path, files: list[str]) -> dict[str, Any]:
    command = [program("kubeconform", folder), "-strict", "-output=json", "-summary", "-verbose"]
    command += ["-schema-location", f"{schemas}/{FILE_NAME}", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return dict(json.loads(done.stdout))


def test_kubeconform_finds_every_manifest_valid(server: ApiServer, tmp_path: Path) -> None:
    made = manifests()
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    kinds = {(one["apiVersion"], one["kind"]) for documents in made.values() for one in documents}
    # A CRD is slow to come and go; its file says the same.
    others = {(api_version, kind) for api_version, kind in kinds if kind in {"Certificate", "HTTPRoute"}}
    write(server, kinds - others, schemas)
    for module, file in (crds.CERTIFICATES, crds.ROUTES):
        write_crd(yaml.load((crds.folder(server, module) / "crds" / file).read_text(), yaml.CSafeLoader), schemas)
    report = kubeconform(tmp_path, schemas, written(made, tmp_path))
    wrong = [found for found in report["resources"] if found["status"] != "statusValid"]
    assert not wrong, json.dumps(wrong, indent=1)
    assert report["summary"]["valid"] == sum(map(len, made.values()))

    # What these schemas refuse, so that the above says something.
    broken = [
        _changed(made["minimal"], "Deployment", ("spec", "template", "spec", "containres"), []),
        _changed(made["minimal"], "Service", ("spec", "ports"), [{"port": "many"}]),
        _changed(made["example-minimal"], "ChatCluster", ("spec", "auth", "otp", "sender"), "Pigeon"),
        _changed(made["example-minimal"], "ChatCluster", ("spec", "chatserver"), {"scalling": {}}),
    ]
    refused = kubeconform(tmp_path, schemas, written({"broken": broken}, tmp_path))
    assert refused["summary"]["invalid"] == len(broken)


def _changed(documents: list[dict[str, Any]], kind: str, path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A copy of the first of a kind with one field set."""
    made = copy.deepcopy(next(document for document in documents if document["kind"] == kind))
    *parents, last = path
    inner = made
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return made


def test_kube_score_finds_nothing_but_what_is_on_the_list(tmp_path: Path) -> None:
    exceptions = tomllib.loads(EXCEPTIONS.read_text()).get("exception", [])
    used: set[int] = set()
    unexpected = []
    for name, documents in manifests().items():
        # A file at a time: the same names are in all of them.
        for finding in _scored(tmp_path, {name: documents}):
            hits = [number for number, one in enumerate(exceptions) if _covers(one, name, *finding[:2])]
            used.update(hits)
            if not hits:
                unexpected.append((name, *finding))
    assert not unexpected, "\n".join(map(str, unexpected))
    assert [one for number, one in enumerate(exceptions) if number not in used] == [], "nothing of it is found any more"
    assert all(len(one["reason"].split()) > 5 for one in exceptions)


def _covers(exception: dict[str, str], file: str, check: str, found_in: str) -> bool:
    return (
        exception["check"] == check
        and fnmatch.fnmatch(found_in, exception["object"])
        and fnmatch.fnmatch(file, exception.get("file", "*"))
    )


def _scored(folder: Path, made: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str, str]]:
    """Findings as (check, Kind/name, kube-score's words)."""
    command = [program("kube-score", folder), "score", "-o", "json", "--kubernetes-version", KUBERNETES]
    command += ["--enable-optional-test", "container-seccomp-profile,container-ports-check"]
    done = subprocess.run([*command, *written(made, folder)], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return [
        (
            check["check"]["id"],
            f"{scored['type_meta']['kind']}/{scored['object_meta']['name']}",
            "; ".join(f"{comment['path']} {comment['summary']}".strip() for comment in check["comments"] or ()),
        )
        for scored in json.loads(done.stdout) or ()
        for check in scored["checks"]
        if not check["skipped"] and check["grade"] < GRADE_OK
    ]
