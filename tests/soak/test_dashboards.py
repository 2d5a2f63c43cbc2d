"""The chart's dashboards have the types of Grafana's own schema, by its TypeScript package."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from monitoring.dashboards.__main__ import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.soak

PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")
"""Of Grafana's packages the one that needs no others: 2 MB, and 24 MB for the compiler."""

PANELS = {"timeseries": "TimeSeries", "stat": "Stat", "table": "Table"}
"""Kinds of panels, as the schema names the files of their options."""

READ_BY_THE_DATA_SOURCE = ("expr", "titleFormat", "textFormat")
"""Of marks on the time axis: Grafana's data source for Prometheus reads them, but the schema does not name them."""

LOOSE = """
type Loose<T> =
  T extends string ? `${T}`
  : T extends number ? (number extends T ? T : `${T}` extends `${infer N extends number}` ? N : T)
  : T extends object ? { [K in keyof T]: Loose<T[K]> }
  : T;
"""
"""A type whose enumerations accept their values, as JSON has them."""

SETTINGS = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "skipLibCheck": True,
        "module": "esnext",
        "moduleResolution": "bundler",
        "target": "es2022",
    },
    "include": ["*.ts"],
}


def program(dashboard: dict[str, Any]) -> str:
    """A dashboard as constants of the schema's types: as a whole, and the options and fields of each panel."""
    for mark in dashboard["annotations"]["list"]:
        for name in READ_BY_THE_DATA_SOURCE:
            del mark[name]
    lines = ["import type { Dashboard } from '@grafana/schema';"]
    for kind, name in PANELS.items():
        path = f"@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen"
        lines.append(f"import type * as {kind} from '{path}';")
    lines += [LOOSE, f"export const dashboard: Loose<Dashboard> = {json.dumps(dashboard)};"]
    for panel in dashboard["panels"]:
        kind, number = panel["type"], panel["id"]
        if kind == "row":
            continue
        lines.append(f"export const options{number}: Loose<{kind}.Options> = {json.dumps(panel['options'])};")
        # A stat has no fields of its own.
        if kind != "stat":
            custom = json.dumps(panel["fieldConfig"]["defaults"].get("custom", {}))
            lines.append(f"export const fields{number}: Loose<Partial<{kind}.FieldConfig>> = {custom};")
    return "\n".join(lines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the packages, and the settings of the compiler."""
    npm = shutil.which("npm")
    assert npm is not None, "no npm here: install Debian's packages 'nodejs' and 'npm'"
    command = (npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", *PACKAGES)
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    (tmp_path / "tsconfig.json").write_text(json.dumps(SETTINGS))
    return tmp_path


def compiled(folder: Path) -> str:
    """What the compiler complains about."""
    done = subprocess.run(
        ["npx", "tsc", "-p", "."], cwd=folder, check=False, capture_output=True, text=True, timeout=240
    )
    assert (done.returncode == 0) == (done.stdout == ""), done
    return done.stdout


def test_each_dashboard_has_the_types_of_grafanas_schema(folder: Path) -> None:
    dashboards = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    for name, dashboard in dashboards.items():
        (folder / f"{name}.ts").write_text(program(dashboard))
    assert compiled(folder) == ""
    # The compiler does look.
    wrong = json.loads((FOLDER / "overview.json").read_text())
    wrong["panels"][1]["options"]["graphMode"] = "unknown"
    (folder / "overview.ts").write_text(program(wrong))
    assert "graphMode" in compiled(folder) or "unknown" in compiled(folder)
