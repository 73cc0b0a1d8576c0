"""Stock Label Studio in an environment of its own, from a lock file with hashes, and an empty migrated database."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelloop.errors import ServiceError, UsageError
from labelloop.services import preflight
from labelloop.services.service_logs import last_lines
from labelloop.services.supervisor import Report
from labelloop.settings import inherited_environment

VERSION = "1.23.2"
LOCK_FILE = Path(__file__).with_name("label-studio.lock")
PYTHONS = ((3, 10), (3, 13))
NEEDED_GB = 2.0
_DONE = "labelloop-complete"
_TEMPLATE = "labelloop-migrated.sqlite3"
_WORD_EVERY_S = 10.0


@dataclass(frozen=True)
class LabelStudioInstall:
    """Where Label Studio's program is; `template` is a migrated database without a user, None where there is none."""

    executable: Path
    template: Path | None = None


def environment_folder(envs: Path) -> Path:
    """Where the environment of this version lies below the folder of environments."""
    return envs.absolute() / f"label-studio-{VERSION}"


def is_installed(envs: Path) -> bool:
    """Whether the environment is whole and made from this release's lock file."""
    try:
        return (environment_folder(envs) / _DONE).read_text(encoding="utf-8") == _lock_digest()
    except OSError:
        return False


def existing_install(executable: Path) -> LabelStudioInstall:
    """A Label Studio that is already there. Raises UsageError when it cannot be run or is of another version."""
    if shutil.which(str(executable)) is None:
        raise UsageError(f"{executable} is no program; give the path of a label-studio {VERSION} executable, or none")
    path = Path(shutil.which(str(executable)) or executable).absolute()
    version = _version_of(path)
    if version != VERSION:
        raise UsageError(
            f"{path} is Label Studio {version or '(unknown)'}; labelloop works with {VERSION}: give that one, or none "
            "and it will be installed"
        )
    return LabelStudioInstall(path)


def _version_of(executable: Path) -> str | None:
    """Version of the label-studio package in the environment of this executable."""
    found = sorted(executable.resolve().parent.parent.glob("lib/python*/site-packages/label_studio-*.dist-info"))
    return found[0].name.removeprefix("label_studio-").removesuffix(".dist-info") if found else None


def install_label_studio(envs: Path, report: Report) -> LabelStudioInstall:
    """Install Label Studio below `envs` unless it is there already; a half-made one is made anew.

    Raises UsageError (interpreter, uv, disk) or ServiceError (the package index); each says what to do.
    """
    folder = environment_folder(envs)
    install = LabelStudioInstall(folder / "bin" / "label-studio", folder / _TEMPLATE)
    if is_installed(envs):
        return install
    with _only_one(envs, report):
        if is_installed(envs):
            return install
        _check_python()
        uv = _find_uv()
        preflight.require(preflight.disk_space(envs, NEEDED_GB, f"Label Studio {VERSION}"))
        preflight.require(preflight.package_index(uv))
        if folder.exists():
            report("label-studio: removing a half-made environment")
            shutil.rmtree(folder)
        log = envs / f"label-studio-{VERSION}.log"
        began = time.monotonic()
        _run(
            [uv, "venv", "--no-project", "--python", sys.executable, str(folder)], log, "making its environment", report
        )
        arguments = ["--require-hashes", "--no-deps", "--python", str(folder / "bin" / "python"), "-r", str(LOCK_FILE)]
        _run([uv, "pip", "install", "--no-progress", *arguments], log, f"installing {VERSION} (800 MB)", report)
        _make_template(install, log, report)
        (folder / _DONE).write_text(_lock_digest(), encoding="utf-8")
        report(f"label-studio: installed in {time.monotonic() - began:.0f} s")
    return install


def plain_environment(data: Path) -> dict[str, str]:
    """The variables that every start of Label Studio needs.

    Only a few are inherited: Label Studio also reads bare names such as HOST, USERNAME, DEBUG or DATABASE_NAME.
    """
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    inherited = inherited_environment()
    off = {
        name: "false"
        for name in ("LATEST_VERSION_CHECK", "COLLECT_ANALYTICS", "LABEL_STUDIO_COLLECT_ANALYTICS", "DEBUG")
    }
    return {
        **{name: inherited[name] for name in (*kept, *proxies) if name in inherited},
        # its calls to backends and webhooks on this machine must not go through a proxy
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "DJANGO_DB": "sqlite",
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "SENTRY_RATE": "0",
        "LOG_LEVEL": "INFO",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        **off,
    }


def _make_template(install: LabelStudioInstall, log: Path, report: Report) -> None:
    """Let Label Studio's own `version` command migrate an empty database, and keep that."""
    if install.template is None:
        return
    with tempfile.TemporaryDirectory(prefix="labelloop-migrate-") as scratch:
        _run(
            [str(install.executable), "version"],
            log,
            "preparing its empty database",
            report,
            env=plain_environment(Path(scratch)),
        )
        made = Path(scratch) / "label_studio.sqlite3"
        with contextlib.closing(sqlite3.connect(made)) as database:
            users = database.execute("select count(*) from htx_user").fetchone()[0]
            organisations = database.execute("select count(*) from organization").fetchone()[0]
        if users or organisations:
            raise ServiceError(f"Label Studio's fresh database already holds {users} users; please report this")
        shutil.copyfile(made, install.template)


def _lock_digest() -> str:
    return hashlib.sha256(LOCK_FILE.read_bytes() + str(sys.version_info[:2]).encode()).hexdigest()


def _check_python() -> None:
    here = sys.version_info[:2]
    if not PYTHONS[0] <= here <= PYTHONS[1]:
        raise UsageError(
            f"Label Studio {VERSION} needs Python 3.10 to 3.13, this is {here[0]}.{here[1]}; run labelloop with one of "
            "those, or give the path of an existing label-studio executable"
        )


def _find_uv() -> str:
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise UsageError("uv is missing, which installs Label Studio; run: pip install 'labelloop[demo]'")
    return found


@contextlib.contextmanager
def _only_one(envs: Path, report: Report) -> Iterator[None]:
    """Two processes never install into the same folder; the second waits for the first."""
    envs.mkdir(parents=True, exist_ok=True)
    with (envs / "install.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"label-studio: another process is installing it into {envs}; waiting for that")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], log: Path, what: str, report: Report, *, env: Mapping[str, str] | None = None) -> None:
    """Run to the end with its output in `log`, reporting now and then; a failure becomes a ServiceError."""
    inherited = {k: v for k, v in inherited_environment().items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    began = time.monotonic()
    report(f"label-studio: {what}; log: {log}")
    with log.open("ab") as output:
        start = output.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env or inherited
        )
        try:
            while True:
                try:
                    code = process.wait(_WORD_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    newest = (last_lines(log, 1) or [""])[0].strip()[:80]
                    report(f"label-studio: {what}, {time.monotonic() - began:.0f} s; {newest}")
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code != 0:
        with log.open("rb") as file:
            file.seek(start)
            text = file.read().decode("utf-8", errors="replace")
        raise ServiceError(explain_failure(what, code, text, log))


def explain_failure(what: str, code: int, output: str, log: Path) -> str:
    """One line that says why a step of the installation failed and what to do; `output` is what the step printed."""
    low = output.lower()
    if any(
        sign in low for sign in ("dns error", "failed to fetch", "connection refused", "connect error", "timed out")
    ):
        return (
            f"label-studio: {what} failed: the package index cannot be reached; check the network (or your proxy and "
            f"index settings, which pip and uv read) and run this again; log: {log}"
        )
    if "no space left" in low or "os error 28" in low:
        return f"label-studio: {what} failed: the disk is full; free {NEEDED_GB:.0f} GB and run this again; log: {log}"
    if "no interpreter found" in low or "no virtual environment" in low:
        return f"label-studio: {what} failed: no usable Python 3.10 to 3.13 was found; install one; log: {log}"
    last = [line.strip() for line in output.splitlines() if line.strip()][-3:]
    return f"label-studio: {what} failed with exit code {code}: {' | '.join(last)}; log: {log}"
