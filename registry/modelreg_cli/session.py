"""What the commands share: the home, the ledger and the key, each opened when a command asks for it."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import click

from modelreg.errors import UnreachableError
from modelreg.format.names import ModelName, parse_reference
from modelreg.format.release import Release
from modelreg_cli.output import Output

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from modelreg.format.manifest import Manifest
    from modelreg.format.names import Reference
    from modelreg.home import Home
    from modelreg.ledger.view import View
    from modelreg.ledger.writer import Writer

__all__ = ["MODEL", "REFERENCE", "Session", "located", "pass_session"]

_LOCK_SECONDS = 30.0


class Session:
    """One run of the command.

    Args:
        root: the home; None for the platform's data directory.
        output: prints.
    """

    def __init__(self, root: Path | None, output: Output) -> None:
        self._root = root
        self.output = output
        self._passwords: dict[Path | None, str] = {}
        self._named: set[str] = set()
        self._unlocking: Future[LocalAccount] | None = None

    def adjust(self, *, home: Path | None = None, json_mode: bool = False, quiet: bool = False) -> None:
        """Take an option that was given after the command; only before the home is opened."""
        self._root = home or self._root
        self.output.json_mode |= json_mode
        self.output.quiet |= quiet

    @cached_property
    def root(self) -> Path:
        """Where the home is, or would be."""
        if self._root is not None:
            return self._root.absolute()
        from platformdirs import user_data_path

        return user_data_path("modelreg")

    @cached_property
    def home(self) -> "Home":
        """The home. Raises NotFoundError if there is none."""
        from modelreg.home import Home

        return Home(self.root)

    @contextmanager
    def ledger(self) -> "Iterator[View]":
        """The ledger at its head, checked against the newest head that this home has seen."""
        from modelreg_verifier.trust import HeadPolicy, open_trusted

        settings = self.home.config.chain
        policy = HeadPolicy(replaceable=settings.replaceable, max_age=settings.max_age)
        if settings.max_age is None:
            # Where blocks come on demand, a second that saw many of them leaves times ahead of the clock.
            policy = replace(policy, max_ahead=None)
        with self.home.reader() as reader:
            try:
                yield open_trusted(reader, self.home.trusted_head, policy)
            finally:
                self._name_suspects(reader.suspects)

    def height(self) -> int:
        """How high the chain is, by the endpoint's word."""
        with self.home.reader() as reader:
            return reader.height()

    def _name_suspects(self, suspects: "Mapping[str, str]") -> None:
        for name, what in suspects.items():
            if name not in self._named:
                self._named.add(name)
                self.output.remark(f"warning: {name} {what}")

    @contextmanager
    def writer(self, password_file: Path | None) -> "Iterator[Writer]":
        """The ledger's writer, signing with the home's key.

        What it wrote is seen once more at the end: a ledger that is then rolled back to before is refused.
        """
        from modelreg.ledger.writer import Writer

        signer = self.unlock(password_file)()
        home = self.home
        chain = home.config.chain
        with home.rpc() as rpc:
            yield Writer(rpc, chain.contract, chain.chain_id, signer, home.outbox)
        try:
            with self.ledger():
                pass
        except UnreachableError as error:
            self.output.remark(f"warning: written, but the ledger's new head could not be read: {error}")

    def unlock(self, password_file: Path | None) -> "Callable[[], LocalAccount]":
        """Ask for the password now, and decrypt the home's key meanwhile; that takes half a second.

        Returns:
            What waits for the key, and raises NotPermittedError for a wrong password.
        """
        from modelreg.keys import KeyStore

        if self._unlocking is None:
            home, password = self.home, self.password(password_file)
            store = KeyStore(home.keystore)
            store.find(home.key)
            worker = ThreadPoolExecutor(1)
            self._unlocking = worker.submit(store.load, home.key, password)
            worker.shutdown(wait=False)
        return self._unlocking.result

    def load_chain(self) -> None:
        """Have a thread load what executes transactions, which takes long, while Kubo or a disk works."""
        if self.home.config.chain.file is not None:
            Thread(target=import_module, args=("modelreg.chain.execution",), daemon=True).start()

    @contextmanager
    def changing_settings(self) -> Iterator[Path]:
        """The home's `config.toml`, which nobody else changes meanwhile."""
        from modelreg.store.lock import file_lock

        with file_lock(self.home.root / "config.lock", exclusive=True, timeout=_LOCK_SECONDS):
            yield self.home.root / "config.toml"

    def manifest(self, release: Release) -> "Manifest":
        """A release's manifest. Raises NotFoundError if its blocks are not to be had."""
        from modelreg_verifier.release import read_release

        return read_release(release, self.home.plaintext)

    def password(self, password_file: Path | None) -> str:
        """The key's password: from a file, or from the terminal, where it is asked for once."""
        from modelreg_cli.password import ask_password

        file = password_file or self.home.config.password_file
        if file not in self._passwords:
            self._passwords[file] = ask_password(file)
        return self._passwords[file]

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; without one the answer is no."""
        return sys.stdin.isatty() and click.confirm(question, err=True)


pass_session = click.make_pass_decorator(Session)


def located(path: Path) -> Path:
    """An absolute path without links and dots before its name, as the records of copies have it."""
    if path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent)) / path.name


class _ModelType(click.ParamType[ModelName]):
    name = "NAMESPACE/NAME"

    def convert(self, value: object, *_: object) -> ModelName:
        return value if isinstance(value, ModelName) else ModelName.parse(str(value))


class _ReferenceType(click.ParamType["Reference"]):
    name = "REF"

    def convert(self, value: object, *_: object) -> "Reference":
        return parse_reference(str(value))


MODEL = _ModelType()
REFERENCE = _ReferenceType()
