"""A docstring means public, and public means listed in ``__all__``; nothing else is either."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "src" / "bpflens"
MODULES = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if path.parent.name != "uapi" or path.name == "__init__.py"
)


def module_id(path):
    return str(path.relative_to(SOURCE.parent))


@pytest.fixture(params=MODULES, ids=module_id)
def module(request):
    return ast.parse(request.param.read_text())


def definitions(module):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name: node for node in module.body if isinstance(node, kinds)}


def listed(module):
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                return ast.literal_eval(node.value)
    return []


def bound_names(module):
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_the_module_says_what_it_is(module):
    assert ast.get_docstring(module)


def test_what_is_defined_without_an_underscore_is_listed(module):
    public = {name for name in definitions(module) if not name.startswith("_")}
    assert public <= set(listed(module))


def test_what_is_listed_exists(module):
    lazy = "__getattr__" in definitions(module)  # a package that imports on first use
    assert lazy or set(listed(module)) <= bound_names(module)


def test_what_is_listed_has_a_docstring(module):
    defined = definitions(module)
    bare = {
        name for name in listed(module) if name in defined and not ast.get_docstring(defined[name])
    }
    assert not bare


def test_what_is_private_has_comments_and_no_docstring(module):
    documented = {
        name
        for name, node in definitions(module).items()
        if name.startswith("_") and not name.startswith("__") and ast.get_docstring(node)
    }
    assert not documented
