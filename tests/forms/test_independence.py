"""A plain form is worth something as long as it shares no code with what it is compared with."""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def imported(path: Path) -> set[str]:
    """The packages that a module imports from."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def test_no_form_imports_the_package() -> None:
    forms = sorted(HERE.glob("plain_*.py"))
    assert len(forms) >= 7
    assert [form.name for form in forms if "aha" in imported(form)] == []
    assert "aha" in imported(HERE / "test_rl_form.py")
