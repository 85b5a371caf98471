"""Arrows point one way: who may import whom."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import textreg

ROOT = Path(textreg.__file__).parent


def module_name(path: Path) -> str:
    parts = ["textreg", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = list(path.relative_to(ROOT.parent).parent.parts)
            above = above[: len(above) + 1 - node.level] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            found |= {home} | {f"{home}.{alias.name}" for alias in node.names}
    return found


STANDARD = set(sys.stdlib_module_names)


@cache
def all_imports() -> dict[str, set[str]]:
    """Of each of our modules; read at the first test, not where tests are only collected."""
    return {module_name(path): imports(path) for path in sorted(ROOT.rglob("*.py"))}


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def users(*packages: str) -> set[str]:
    """Modules outside of some packages that import from them."""
    return {
        module
        for module, imported in all_imports().items()
        if not inside(module, *packages) and any(inside(name, *packages) for name in imported)
    }


def test_the_walk_sees_something() -> None:
    assert len(all_imports()) > 40
    assert "textreg.batch" in users("textreg.method")


def test_config_imports_nothing_of_ours_and_no_torch() -> None:
    for module, imported in all_imports().items():
        if inside(module, "textreg.config"):
            for name in imported:
                known = inside(name, "textreg.config") or name.split(".")[0] in STANDARD
                assert known, (module, name)


def test_the_method_knows_tensors_and_itself() -> None:
    for module, imported in all_imports().items():
        if inside(module, "textreg.method"):
            for name in imported:
                known = inside(name, "textreg.method", "torch")
                assert known or name.split(".")[0] in STANDARD, (module, name)


@pytest.mark.parametrize(
    "module",
    ["textreg.method", "textreg.priors", "textreg.stages", "textreg.sampling", "textreg.evaluate"],
)
def test_these_never_train(module: str) -> None:
    """Not directly, and not through others."""
    seen = {name for name in all_imports() if inside(name, module)}
    assert seen
    waiting = list(seen)
    while waiting:
        reached = {name for name in all_imports()[waiting.pop()] if name in all_imports()}
        waiting += reached - seen
        seen |= reached
    assert not {
        name
        for name in seen
        if inside(name, "textreg.trainer", "textreg.training", "textreg.learning")
    }


def test_only_the_demo_and_the_command_line_know_toyland() -> None:
    for module in users("textreg.toyland"):
        assert inside(module, "textreg.demo", "textreg.cli", "textreg.commands"), module


def test_only_the_shell_knows_the_commands() -> None:
    shell = ("textreg.cli", "textreg.commands", "textreg.legacy", "textreg.demo")
    assert all(inside(module, *shell) for module in users(*shell[1:3]))


def test_nothing_pickles() -> None:
    for module, imported in all_imports().items():
        assert not {"pickle", "torch.load", "dill", "shelve"} & imported, module
    for path in ROOT.rglob("*.py"):
        assert "torch.load(" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    "module", ["textreg", "textreg.cli", "textreg.config", "textreg.priors", "textreg.settings"]
)
def test_help_is_instant(module: str) -> None:
    program = (
        f"import sys, {module}\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'PIL', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_there() -> None:
    assert all(getattr(textreg, name) is not None for name in textreg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = textreg.nothing
