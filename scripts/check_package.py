"""Build the wheel and the sdist, install each apart, and use it outside the checkout."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command; its standard output."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode()


def use(package: Path, work: Path) -> None:
    """Install a package and publish, sync and verify a file with it."""
    python = work / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", work / "venv", cwd=work)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = [*pip, "--no-deps", "--require-hashes", "-r"]
    run(*pinned, ROOT / "requirements.lock", "--only-binary", ":all:", cwd=work)
    run(*pinned, ROOT / "requirements-source.lock", "--no-build-isolation", cwd=work)
    run(*pip, "--no-deps", "--no-build-isolation", package, cwd=work)
    model = work / "weights.txt"
    model.write_text("0.25 0.5 0.75\n")
    modelreg = [work / "venv" / "bin" / "modelreg", "--json", "--home"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MODELREG_")}
    run(*modelreg, "a", "init", cwd=work, env=clean)
    run(*modelreg, "a", "publish", model, "--model", "acme/tiny", "--version", "1.0.0", cwd=work, env=clean)
    run(*modelreg, "b", "init", "--join", "a", cwd=work, env=clean)
    run(*modelreg, "b", "sync", "acme/tiny@1.0.0", "--to", "copy", cwd=work, env=clean)
    verified = json.loads(run(*modelreg, "b", "verify", "copy", cwd=work, env=clean))
    if not verified["ok"] or (work / "copy" / "weights.txt").read_bytes() != model.read_bytes():
        raise SystemExit(f"{package.name} does not work outside the checkout")


def main() -> None:
    """Build and use both."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory)
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
        for package in sorted(out.glob("modelreg-*")):
            work = out / f"use-{package.name}"
            work.mkdir()
            use(package, work)
            print(f"{package.name}: installed and used outside the checkout")


if __name__ == "__main__":
    main()
