"""The rules of the structure: the import law, nothing on import, the environment read once, small and told files."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("labelloop", "templates", "backends", "sync", "qa")
MAY_IMPORT = {
    "labelloop": set(),
    "templates": {"labelloop"},
    "qa": {"labelloop"},
    "backends": {"labelloop", "templates"},
    "sync": {"labelloop", "templates", "backends", "qa"},
}
COMPOSITION_ROOT = ("labelloop/cli.py", "labelloop/commands/")
SETTINGS = "labelloop/settings.py"
HEAVY = ("torch", "torchvision", "ultralytics", "spacy", "thinc", "sklearn", "skops", "mlflow", "flask", "gunicorn")
#: HTTP apps are written in Flask's decorators; they alone may need it, and nothing imports them before it serves.
HTTP_APPS = {"backends.server", "sync.receiver"}
MAX_LINES = 400


def sources(*folders: str) -> list[Path]:
    """Python files of these folders, sorted."""
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import, also inside functions; relative ones resolved."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = file.relative_to(ROOT).parts[:-1]
            base = ".".join(above[: len(above) - node.level + 1]) if node.level else ""
            start = ".".join(part for part in (base, node.module or "") if part)
            yield node.lineno, start
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def breaches(file: Path) -> list[str]:
    """Imports of a file that the law does not allow."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    own, found = parts[0], []
    for line, imported in imports_of(file):
        top, _, rest = imported.partition(".")
        if top in PACKAGES and top != own and top not in MAY_IMPORT[own]:
            found.append(f"{name_of(file)}:{line} imports {imported}; {own} may import {sorted(MAY_IMPORT[own])}")
        if top in ("tests", "benchmarks"):
            found.append(f"{name_of(file)}:{line} imports {imported}, which is never packaged")
        other = rest.partition(".")[0]
        inside = own == top == "backends" and (ROOT / "backends" / other).is_dir() and len(parts) > 2
        if inside and other and other != parts[1]:
            found.append(f"{name_of(file)}:{line} imports {imported}: no backend imports another")
    return found


def composes(file: Path) -> bool:
    """Whether a file belongs to the composition root."""
    return name_of(file).startswith(COMPOSITION_ROOT)


def test_the_import_law_holds() -> None:
    assert [found for file in sources(*PACKAGES) if not composes(file) for found in breaches(file)] == []


def test_nobody_but_the_command_line_imports_its_commands() -> None:
    root = (["labelloop", "cli"], ["labelloop", "commands"])
    outside = [file for file in sources(*PACKAGES) if not composes(file)]
    found = [name_of(file) for file in outside for _, name in imports_of(file) if name.split(".")[:2] in root]
    assert found == [], "what imports the composition root can reach every package through it"


def test_the_import_law_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for name in ("yolo", "spacy_nlp"):
        (tmp_path / "backends" / name).mkdir(parents=True)
    file = tmp_path / "backends" / "yolo" / "a.py"
    lines = ["def f():", "    import sync", "    from backends.spacy_nlp import x", "    from ..spacy_nlp import y"]
    file.write_text("\n".join([*lines, "    import_module('qa.measures')", "    from .. import spacy_nlp", ""]))
    assert {int(found.split(":")[1].split()[0]) for found in breaches(file)} == {2, 3, 4, 5, 6}
    kernel = tmp_path / "labelloop" / "b.py"
    kernel.parent.mkdir()
    kernel.write_text("from templates import load\n")
    assert len(breaches(kernel)) == 2


@pytest.mark.parametrize("file", [file for file in sources("labelloop") if composes(file)], ids=name_of)
def test_the_command_line_imports_other_packages_inside_commands_only(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    at_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module or "" for node in at_top if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in at_top if isinstance(node, ast.Import) for alias in node.names]
    assert {name.split(".")[0] for name in names} & (set(PACKAGES) - {"labelloop"}) == set()


IMPORT_ALL = """
import importlib, importlib.abc, importlib.machinery, json, sys, threading
names, heavy = json.loads(sys.argv[1]), set(json.loads(sys.argv[2]))
problems = []

class Refuse(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    # Asking whether a library is there is allowed (Polars does), loading it is not.
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] in heavy else None

    def exec_module(self, module):
        name = module.__name__
        raise ImportError(f"{name} is imported when the module is; import it inside the function that needs it")

sys.meta_path.insert(0, Refuse())
watching, current = False, ""
WRITES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.putenv", "subprocess.Popen", "os.fork",
          "socket.__new__", "socket.connect", "socket.bind", "sqlite3.connect"}

def refuse_thread(thread):
    if watching:
        problems.append(f"{current}: a thread is started on import")
    start(thread)

start, threading.Thread.start = threading.Thread.start, refuse_thread

def hook(event, args):
    if not watching:
        return
    wrote = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if event in WRITES or wrote:
        problems.append(f"{current}: {event} {str(args[0])[:80] if args else ''} happens on import")

sys.addaudithook(hook)
# Once to load what other libraries bring (they may do as they like), and again to see what our own modules do.
for again in (False, True):
    for name in [name for name in sys.modules if name.split(".")[0] in set(json.loads(sys.argv[3]))]:
        del sys.modules[name]
    for current in names:
        watching = again
        try:
            importlib.import_module(current)
        except Exception as error:
            problems.append(f"{current}: {type(error).__name__}: {error}")
        watching = False
print(json.dumps(sorted(set(problems))))
"""


def modules(*folders: str) -> list[str]:
    """Dotted names of all modules that are imported by name; Alembic runs migrations, Python runs `__main__`."""
    files = [
        file
        for file in sources(*(folders or PACKAGES))
        if "migrations" not in file.parts and file.name != "__main__.py"
    ]
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return [name.removesuffix(".__init__") for name in names]


def imported_clean(names: list[str], root: Path, refused: tuple[str, ...] = HEAVY) -> list[str]:
    """What goes wrong when a fresh interpreter imports these modules without the heavy libraries."""
    tops = sorted({name.split(".")[0] for name in names})
    told = [json.dumps(names), json.dumps(refused), json.dumps(tops)]
    command = [sys.executable, "-B", "-W", "error", "-c", IMPORT_ALL, *told]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=True)
    problems: list[str] = json.loads(ran.stdout)
    return problems


def test_nothing_happens_on_import() -> None:
    assert imported_clean([name for name in modules() if name not in HTTP_APPS], ROOT) == []
    with_flask = tuple(name for name in HEAVY if name != "flask")
    assert imported_clean([name for name in modules() if name in HTTP_APPS], ROOT, with_flask) == []
    assert imported_clean(modules("benchmarks"), ROOT, (*HEAVY, "krippendorff", "label_studio_sdk")) == []


def test_what_happens_on_import_is_seen(tmp_path: Path) -> None:
    package = tmp_path / "late"
    package.mkdir()
    for name, line in {
        "__init__": "",
        "heavy": "import torch",
        "writes": "open('made.txt', 'w').close()",
        "starts": "import threading; t = threading.Thread(target=int); t.start(); t.join()",
        "dials": "import socket; socket.socket().close()",
        "fine": "import json",
    }.items():
        (package / f"{name}.py").write_text(line)
    names = [f"late.{name}" for name in ("heavy", "writes", "starts", "dials", "fine")]
    seen = {problem.partition(":")[0] for problem in imported_clean(names, tmp_path)}
    assert seen == {"late.heavy", "late.writes", "late.starts", "late.dials"}


def environment_reads(file: Path) -> list[int]:
    """Lines that touch os.environ, os.getenv and the like."""
    touched = {"environ", "environb", "getenv", "putenv", "unsetenv", "getenvb"}
    lines = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr in touched:
                lines.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.module == "os" and {a.name for a in node.names} & touched:
            lines.append(node.lineno)
    return lines


def test_the_environment_is_read_in_one_module() -> None:
    found = {name_of(file): lines for file in sources(*PACKAGES) if (lines := environment_reads(file))}
    assert set(found) == {SETTINGS}, found


def test_no_file_is_over_400_lines_and_each_module_says_what_it_is_for() -> None:
    files = sources(*PACKAGES, "tests", "benchmarks")
    long = [name_of(file) for file in files if len(file.read_text(encoding="utf-8").splitlines()) > MAX_LINES]
    silent = [
        name_of(file)
        for file in files
        if (text := file.read_text(encoding="utf-8").strip()) and not ast.get_docstring(ast.parse(text))
    ]
    assert (long, silent) == ([], [])


def test_no_folder_is_named_like_a_library() -> None:
    folders = {file.parent for file in sources(*PACKAGES)} | {ROOT / "tests", ROOT / "benchmarks"}
    ours = {"labelloop", *PACKAGES}
    libraries = {name for name, owners in packages_distributions().items() if owners != ["labelloop"]} - ours
    clashes = [name_of(folder) for folder in folders if folder.name in libraries | set(sys.stdlib_module_names)]
    assert clashes == [], "a file of such a folder, run by its path, would hide the library"


def hidden_names(package: Path) -> list[str]:
    """Public names that a package's __init__.py gives, and that a submodule of the same name would hide."""
    given: set[str] = set()
    for node in ast.walk(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            given.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            given |= {alias.asname or alias.name for alias in node.names}
    submodules = {file.stem for file in package.glob("*.py")} | {file.parent.name for file in package.glob("*/*.py")}
    return sorted(f"{name_of(package)}: {name}" for name in given & submodules)


def test_no_submodule_is_named_like_what_its_package_gives() -> None:
    packages = [file.parent for file in sources(*PACKAGES) if file.name == "__init__.py"]
    assert len(packages) > len(PACKAGES)
    hidden = [name for package in packages for name in hidden_names(package)]
    assert hidden == [], "importing such a submodule puts it in the place of the function: rename the submodule"


def test_a_submodule_that_hides_a_function_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    package = tmp_path / "backends" / "late"
    (package / "load").mkdir(parents=True)
    for name in ("trainer", "load/__init__", "fine"):
        (package / f"{name}.py").touch()
    (package / "__init__.py").write_text("from .fine import load\n\ndef trainer():\n    from . import trainer\n")
    assert hidden_names(package) == ["backends/late: load", "backends/late: trainer"]


def test_tests_are_no_packages_and_their_names_are_unique() -> None:
    files = sources("tests")
    assert [name_of(file) for file in files if file.name == "__init__.py"] == []
    names = [file.name for file in files if file.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def tracked() -> list[Path]:
    """Files under version control, or all that are not ignored by name where there is no repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        files = [file for file in ROOT.rglob("*") if not {".venv", ".git", ".labelloop"} & set(file.parts)]
    return [file for file in files if file.is_file()]


def test_no_package_index_is_named_in_the_repository() -> None:
    # Put together here, so that this file does not name one itself.
    hosts = [r"pypi\." + "org", "files.python" + "hosted", r"index-url[ =]+\S*:" + "//", "find-" + "links"]
    found = re.compile("|".join(hosts))
    named = [name_of(file) for file in tracked() if found.search(file.read_bytes().decode("utf-8", "ignore"))]
    assert named == [], "installers take the index from the machine's own settings"


def test_the_lock_pins_every_line_with_a_hash_and_names_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"\n\s*#.*", "", text))
    entries = [entry for entry in entries if entry.strip() and not entry.startswith("#")]
    assert len(entries) > 100
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
    assert "://" not in text and " @ " not in text
