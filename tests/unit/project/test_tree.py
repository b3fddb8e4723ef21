"""Facts about the project's files: how long they are, what they may not say, what they need."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("src", "tests", "tools", "bench", "docs", "examples", ".ci")
TEXT = {".py", ".md", ".toml", ".txt", ".sh", ".bt", ".c", ".h", ""}
LONGEST = 800

# Written in two parts, so that this file does not hold them. Places that only one machine has,
# hosts that only some machines reach, and words for what is not finished.
BANNED = [
    "/wo" "rk/", "/fa" "rm/", "/tmp/re" "con", ".lib" "rary/", "/tmp/pl" "an",
    "registry.np" "mjs", "py" "pi.org", "python" "hosted", "deb." "debian.org",
    "TO" "DO", "FIX" "ME", "XX" "X", "NotImpl" "ementedError", "not impl" "emented",
]  # fmt: skip


def project_files():
    for name in sorted(ROOT.iterdir()):
        if name.is_file():
            yield name
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def text_files():
    return [path for path in project_files() if path.suffix in TEXT and path.name != "LICENSE"]


def is_generated(text):
    return any("enerated by" in line for line in text.splitlines()[:5])


def test_no_source_file_is_longer_than_a_person_reads():
    lengths = {}
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text()
        if not is_generated(text):
            lengths[str(path.relative_to(ROOT))] = text.count("\n")
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("word", BANNED)
def test_no_file_says(word):
    found = []
    for path in text_files():
        # Recorded outputs of other tools are data, and say what they say.
        if "fixtures" in path.parts or "data" in path.parts:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        pattern = re.escape(word)
        if word.isalpha() and word.isupper():
            pattern = rf"\b{pattern}\b"
        found += [f"{path.relative_to(ROOT)}: {m.group()}" for m in re.finditer(pattern, text)]
    assert found == []


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [item for group in project["optional-dependencies"].values() for item in group]
    named = [re.match(r"[A-Za-z0-9_-]+", item).group() for item in project["dependencies"]]
    return set(named), {re.match(r"[A-Za-z0-9_-]+", item).group() for item in extras}


# Where the name that is imported is not the name that is installed.
IMPORT_NAMES = {
    "PyYAML": "yaml",
    "pyelftools": "elftools",
    "prometheus-client": "prometheus_client",
}


def imported():
    names = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"bpflens"}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    required, extras = ({IMPORT_NAMES.get(name, name) for name in names} for names in declared())
    found = imported()
    assert found - extras == required


def test_the_commands_that_the_readme_shows_exist():
    readme = (ROOT / "README.md").read_text()
    shown = set(re.findall(r"tools/dev\.py ([a-z-]+)", readme))
    code = (ROOT / "tools" / "dev.py").read_text()
    known = set(re.findall(r'^    "([a-z-]+)": [a-z_]+,$', code, re.MULTILINE))
    assert shown
    assert shown <= known
