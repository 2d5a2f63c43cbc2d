"""The tree keeps its promises."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES_MAX = 350


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [Path(line) for line in listed.stdout.splitlines()]


def sources(folders: set[str]) -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.parts[0] in folders]


def test_the_operator_folder_never_hides_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_each_third_party_client_has_one_importer() -> None:
    importers = {
        "asyncpg": {f"chatserver/chatserver/storage/{name}.py" for name in ("connecting", "database", "replicated")},
        "hiredis": {"chatserver/chatserver/fanout/valkey/link.py"},
        "httpx": {"clients/python/chatcluster_client/rest.py", "chatserver/chatserver/accounts/webhook.py"},
        "kubernetes": {"operator/chatoperator/kube/transport.py", "operator/chatoperator/kube/lease.py"},
        "grafana_foundation_sdk": {"monitoring/dashboards/grafana.py"},
        "emoji": {"chatserver/chatserver/emojis.py"},
        "phonenumbers": {"chatserver/chatserver/users/phone_numbers.py"},
        "precis_i18n": {"chatserver/chatserver/users/names.py"},
    }
    searched = sources({"operator", "chatserver", "clients", "monitoring"})
    for module, allowed in importers.items():
        found = {
            str(path)
            for path in searched
            for line in (ROOT / path).read_text().splitlines()
            if line.lstrip().startswith((f"import {module}", f"from {module}"))
        }
        assert found == allowed, module


def test_a_call_is_routed_by_its_declaration_alone() -> None:
    """A route that is made in any other way is missing in the published documents."""
    routing = {
        path.as_posix()
        for path in tracked()
        if path.suffix == ".py" and path.parts[0] == "chatserver" and ".add_route(" in (ROOT / path).read_text()
    }
    # The web page's files are no calls.
    assert routing == {f"chatserver/chatserver/http/{name}.py" for name in ("call", "routes/page")}


def test_every_concept_of_the_architecture_is_where_it_says() -> None:
    rows = [line.split("|")[2] for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines() if line.startswith("| ")]
    named = [name for row in rows[2:] for name in row.split("`")[1::2]]
    assert named
    missing = [
        name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "chatserver" / "chatserver"))
    ]
    assert not missing


def test_the_picture_of_the_tree_has_every_package_of_operator_and_server() -> None:
    picture = (ROOT / "ARCHITECTURE.md").read_text().partition("## The tree")[2].split("```")[1]
    drawn: set[Path] = set()
    folders: list[Path] = []
    for line in picture.splitlines():
        name = re.search(r"[\w/-]+/(?=[\s,])", line)
        if name is None:
            continue
        depth = name.start() // 4
        folders = [*folders[:depth], (folders[depth - 1] if depth else Path()) / name.group()]
        drawn.add(folders[-1])
    assert all((ROOT / folder).is_dir() for folder in drawn)
    packages = {path.parent for path in tracked() if path.name == "__init__.py"}
    inside = {package for package in packages if package.parts[0] in {"operator", "chatserver"}}
    assert {package for package in inside if len(package.parts) == 3} <= drawn


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()]
    # A group may take in the project's own extras, whose requirements are looked at themselves.
    own = f"{project['project']['name']}["
    loose = [item for group in groups for item in group if "==" not in item and not item.startswith(own)]
    assert not loose


def test_no_file_names_where_the_checkout_lies() -> None:
    naming = [path for path in tracked() if str(ROOT).encode() in (ROOT / path).read_bytes()]
    assert not naming


def test_each_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert len(set(numbers)) == len(numbers)
    assert all(page.read_text().startswith(f"# {number}. ") for number, page in zip(numbers, pages, strict=True))


def test_no_file_of_production_is_too_long_to_read_at_once() -> None:
    folders = {"operator", "chatserver", "clients", "kubectl-chatcluster", "images", "localcluster", "release"}
    folders |= {"crds", "monitoring"}
    lines = {
        str(path): len((ROOT / path).read_text().splitlines()) for path in sources(folders) if (ROOT / path).exists()
    }
    assert not {path: count for path, count in lines.items() if count > LINES_MAX}
