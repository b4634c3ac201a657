"""A home restored from what docs/operate/README.md says to back up."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.cli.command import done, modelreg, tree
from tests.cli.conftest import MODEL, _empty_home, _published_home, models, world  # noqa: F401  fixtures

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operate" / "README.md"


def test_a_restored_home_works_again(world, tmp_path):  # noqa: F811
    """The publisher's own home: its ledger and its key come out of the archive, its blocks from a peer."""
    home = world.publisher
    node = world.node()
    done(node, "pin", f"{MODEL}@1.0.0")
    done(node, "pin", f"{MODEL}@1.1.0")
    [command] = re.findall(r"`tar -C \S+ -cf backup.tar (.*?) home`", GUIDE.read_text())
    excluded = command.replace("home/", f"{home.name}/").split()
    archive = tmp_path / "backup.tar"
    subprocess.run(["tar", "-C", home.parent, "-cf", archive, *excluded, home.name], check=True)
    shutil.rmtree(home)
    subprocess.run(["tar", "-C", home.parent, "-xf", archive], check=True)
    assert not (home / "store").exists()
    config = home / "config.toml"
    config.write_text(config.read_text().replace("peers = []", f'peers = ["{node}"]'))
    assert "2 pinned releases lack their manifest" in modelreg(home, "doctor").out
    for version in ("1.0.0", "1.1.0"):
        done(home, "pin", f"{MODEL}@{version}")
    assert done(home, "doctor")
    done(home, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.second)
    changed = shutil.copytree(world.second, tmp_path / "third")
    (changed / "config.json").write_text("{}\n")
    done(home, "publish", changed, "--model", MODEL, "--version", "1.2.0")
