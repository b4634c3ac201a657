"""`bundle`."""

from pathlib import Path

import click

from modelreg.format.names import AtRelease, Reference
from modelreg_cli.output import human_bytes
from modelreg_cli.session import REFERENCE, Session, pass_session

__all__ = ["bundle_command"]


@click.command("bundle")
@click.argument("reference", type=REFERENCE, metavar="REF")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@pass_session
def bundle_command(session: Session, reference: Reference, file: Path) -> None:
    """Write the evidence for the release REF to FILE: ledger proofs and the manifest.

    `modelreg verify DIRECTORY --offline FILE` then needs no chain and no network, only a block hash that the
    verifier trusts.
    """
    from modelreg.ledger.reader import Reader
    from modelreg.store.files import os_errors
    from modelreg_verifier.bundle import Bundle, RecordingRpc, manifest_blocks, write_bundle

    home = session.home
    with session.ledger() as view:
        release_id = view.resolve(reference).release_id
    chain = home.config.chain
    with home.rpc() as rpc:
        recorder = RecordingRpc(rpc)
        view = Reader(recorder, chain.contract, chain.chain_id).at_head()
        release = view.resolve(AtRelease(release_id))
    blocks = manifest_blocks(release, home.blocks)
    bundle = Bundle(chain.chain_id, chain.contract, str(release_id), recorder.answers, blocks)
    with os_errors(f"cannot write {file}"), file.open("xb") as opened:
        write_bundle(opened, bundle, release.manifest_cid)
    document = {
        "release_id": str(release_id),
        "file": str(file),
        "bytes": file.stat().st_size,
        "block": view.header.number,
        "hash": "0x" + view.header.hash.hex(),
    }
    text = f"wrote {human_bytes(file.stat().st_size)} to {file}; trust block {document['hash']} to use it"
    session.output.result(document, text)
