"""The repository itself: its names, scripts, versions, floors, and what each part may load."""

import ast
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import studio
from studio.config.migrations import MIGRATIONS
from studio.services.schema import schema
from tests import dictionary

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ["scripts/install", "scripts/demo", "scripts/test", "scripts/check", ".ci/run"]
HEAVY = ("torch", "transformers", "lightning", "onnxruntime", "streamlit", "gradio", "hydra")
FLOORS = {
    "streamlit": "1.67",
    "gradio": "6.31",
    "starlette": "1.6",
    "transformers": "5.5",
    "hydra-core": "1.3.8",
    "lightning": "2.6.6",
}
MALWARE = {"lightning": {"2.6.2", "2.6.3"}, "pytorch-lightning": {"2.6.2", "2.6.3"}}


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]  # type: ignore[no-any-return]


def requirements() -> dict[str, Requirement]:
    declared = project()["dependencies"]
    assert isinstance(declared, list)
    return {(found := Requirement(text)).name: found for text in declared}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {_normal(name): version for name, version in pairs}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def modules() -> list[str]:
    return [found.name for found in pkgutil.walk_packages(studio.__path__, "studio.")]


@pytest.mark.parametrize(
    "name",
    [
        *("app.py", "conf/config.yaml", "pages", "src/studio/cli.py", "scripts", "tests", "benchmarks", "docs/adr"),
        *("pyproject.toml", "constraints.txt", "README.md", "CHANGELOG.md", "Dockerfile", ".streamlit/config.toml"),
        *("docs/training-guide.md", "docs/benchmarks.md", "docs/conformance.md"),
        *(
            f"src/studio/{room}"
            for room in ("core", "config", "text", "nn", "inference", "training", "records", "rows")
        ),
        *(f"src/studio/{room}" for room in ("datasets", "evaluation", "routing", "pipeline", "jobs", "services")),
        *("src/studio/serving", "src/studio/ui", *SCRIPTS),
    ],
)
def test_every_top_level_name_is_there(name: str):
    assert (ROOT / name).exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_posix_shell(script: str):
    text = (ROOT / script).read_text()
    assert text.startswith("#!/bin/sh\n")
    assert os.access(ROOT / script, os.X_OK)
    assert subprocess.run(["sh", "-n", ROOT / script], capture_output=True, check=False).returncode == 0
    assert len(text.splitlines()) <= 70


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_floors(name: str, floor: str):
    assert Version(metadata.version(name)) >= Version(floor)
    assert Version(pinned()[_normal(name)]) >= Version(floor)
    below = f"{floor.rpartition('.')[0]}.{int(floor.rpartition('.')[2]) - 1}"
    assert not requirements()[name].specifier.contains(below)


def test_torch_is_pinned():
    assert str(requirements()["torch"].specifier) == "==2.13.0"
    assert pinned()["torch"] == "2.13.0"
    assert Version(metadata.version("torch")).public == "2.13.0"


def test_no_version_that_was_malware():
    for name, bad in MALWARE.items():
        assert pinned()[name] not in bad
        assert metadata.version(name) not in bad
    assert not any(requirements()["lightning"].specifier.contains(version) for version in MALWARE["lightning"])


def test_every_requirement_has_an_exact_version_that_fits():
    exact = pinned()
    extras = project()["optional-dependencies"]
    assert isinstance(extras, dict)
    for requirement in [*requirements().values(), *(Requirement(text) for texts in extras.values() for text in texts)]:
        assert requirement.specifier.contains(exact[_normal(requirement.name)]), requirement.name


def test_every_import_is_declared():
    names = metadata.packages_distributions()
    declared = {_normal(name) for name in requirements()} | {"wandb"}
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            tops = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                tops = [node.module or ""]
            for top in {name.partition(".")[0] for name in tops} - set(sys.stdlib_module_names) - {"studio", "wandb"}:
                found = {_normal(name) for name in names.get(top, [top])}
                assert found & (declared | {"pydantic-core"}), f"{file.relative_to(ROOT)} imports {top}"


def test_packages_have_no_code_of_their_own():
    for file in (ROOT / "src").rglob("__init__.py"):
        statements = ast.parse(file.read_text()).body
        assert all(isinstance(node, ast.Expr | ast.ImportFrom) for node in statements), file


def loaded_by(*names: str) -> set[str]:
    """Which of the heavy packages are loaded after importing `names` in a fresh interpreter."""
    code = f"import sys, {', '.join(names)}; print(*[heavy for heavy in {HEAVY} if heavy in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_floors_0_to_2_load_nothing_heavy():
    light = [name for name in modules() if name.split(".")[1] in ("core", "config", "text")]
    assert len(light) > 20
    assert loaded_by(*light) <= {"hydra"}
    assert loaded_by(*(name for name in light if name != "studio.config.compose")) == set()


def test_the_command_line_loads_nothing_heavy():
    assert loaded_by("studio.cli", "studio.services") == set()


def test_the_slim_process_loads_no_torch():
    slim = ["engine", "sampling", "sessions", "backends.onnx", "backends.base"]
    assert not loaded_by(*(f"studio.inference.{name}" for name in slim)) & {"torch", "transformers", "lightning"}


def test_every_module_imports():
    code = (
        f"import importlib, warnings; warnings.simplefilter('ignore'); list(map(importlib.import_module, {modules()}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_pages_are_thin():
    for page in (ROOT / "pages").glob("*.py"):
        assert len(page.read_text().splitlines()) < 80, page.name


def bare_checkout(tmp_path: Path) -> Path:
    """A copy of what scripts/install reads, without a virtual environment."""
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "scripts/install"):
        shutil.copy(ROOT / name, checkout / name)
    return checkout


def fake_program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def install(checkout: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(checkout)}
    return subprocess.run(
        ["sh", checkout / "scripts" / "install"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


def without_python(path: Path) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        fake_program(path, name, "exit 1")


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_install_says_that_python_is_missing(tmp_path: Path):
    without_python(tmp_path / "bin")
    line = one_line(install(bare_checkout(tmp_path), tmp_path / "bin"))
    assert "Python 3.11 or newer is missing" in line


def test_install_says_that_venv_is_missing(tmp_path: Path):
    without_python(tmp_path / "bin")
    fake_program(tmp_path / "bin", "python3", f'case "$2" in *venv*) exit 1;; *) exec {sys.executable} "$@";; esac')
    line = one_line(install(bare_checkout(tmp_path), tmp_path / "bin"))
    assert "venv module is missing" in line
    assert "apt install python3-venv" in line


def test_install_says_that_the_disk_is_too_small(tmp_path: Path):
    fake_program(tmp_path / "bin", "python3", f'exec {sys.executable} "$@"')
    fake_program(tmp_path / "bin", "df", "echo header; echo 'disk 9 9 1000000 9% /'")
    line = one_line(install(bare_checkout(tmp_path), tmp_path / "bin"))
    assert "too little disk: 1000 MB are free here" in line


def test_install_warns_of_a_missing_compiler_and_goes_on(tmp_path: Path):
    tools = tmp_path / "bin"
    for name in ("sh", "dirname", "grep", "cat", "cksum", "df", "awk", "uname", "tail"):
        fake_program(tools, name, f'exec {shutil.which(name)} "$@"')
    fake_program(tools, "python3", f'case "$2" in venv) exit 1;; *) exec {sys.executable} "$@";; esac')
    checkout = bare_checkout(tmp_path)
    result = subprocess.run(
        ["/bin/sh", checkout / "scripts" / "install"],
        capture_output=True,
        text=True,
        env={"PATH": str(tools)},
        timeout=60,
        check=False,
    )
    assert "git is missing" in result.stderr
    assert "no C++ compiler; training runs in eager mode" in result.stderr
    assert "could not be made" in result.stderr


@pytest.mark.parametrize("gpu", [False, True])
def test_install_takes_torch_first_and_alone(tmp_path: Path, gpu: bool):
    checkout, tools = bare_checkout(tmp_path), tmp_path / "bin"
    fake_program(tools, "python3", f'exec {sys.executable} "$@"')
    fake_program(tools, "uname", "echo Linux")
    fake_program(tools, "nvidia-smi", f"exit {0 if gpu else 1}")
    (checkout / ".venv").mkdir()
    fake_program(checkout / ".venv" / "bin", "python", 'echo "$@" >>calls; case "$*" in *+cpu*) exit 1;; esac')
    result = install(checkout, tools)
    assert result.returncode == 0, result.stderr
    calls = [line for line in (checkout / "calls").read_text().splitlines() if "pip install" in line]
    asked = [next(word for word in line.split() if word.startswith(("torch", "."))) for line in calls]
    assert asked == [*([] if gpu else ["torch==2.13.0+cpu"] * 2), "torch==2.13.0", "."]
    assert ["download.pytorch.org" in line for line in calls] == [False, *([] if gpu else [True, False]), False]
    assert "-c constraints.txt" in calls[-1]
    assert install(checkout, tools).stderr == ""


def test_install_is_quick_the_second_time(tmp_path: Path):
    checkout = bare_checkout(tmp_path)
    fake_program(tmp_path / "bin", "python3", f'exec {sys.executable} "$@"')
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stamp = subprocess.run(
        "cat pyproject.toml constraints.txt scripts/install | cksum",
        shell=True,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (checkout / ".venv" / ".studio-use").write_text(stamp)
    result = install(checkout, tmp_path / "bin")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_what_a_wheel_carries_is_named():
    text = (ROOT / "pyproject.toml").read_text()
    assert 'conf = "studio/_conf"' in text


def test_the_changelog_names_every_migrated_key():
    """003 §Configuration Evolution: who reads the changelog knows what to rename."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    for step in MIGRATIONS:
        keys = re.findall(r"`([\w.]+)`", step.__doc__ or "")
        assert keys, step.__name__
        assert all(f"`{key}`" in changelog for key in keys)


def test_the_data_dictionary_is_up_to_date():
    assert dictionary.TARGET.read_text() == dictionary.render(schema()), "run python -m tests.dictionary"
