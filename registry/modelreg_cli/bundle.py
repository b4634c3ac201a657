"""`bundle`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelreg.format.names import AtRelease, Reference
from modelreg_cli.new_file import new_file, require_absent
from modelreg_cli.output import human_bytes
from modelreg_cli.session import REFERENCE, Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.cid import Cid
    from modelreg_verifier.bundle import Bundle

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
    from modelreg_verifier.bundle import Bundle, manifest_blocks
    from modelreg_verifier.evidence_file import Evidence, RecordingRpc

    require_absent(file)
    home = session.home
    with session.ledger() as view:
        number, release_id = view.header.number, view.resolve(reference).release_id
    chain = home.config.chain
    with home.rpc() as rpc:
        recorder = RecordingRpc(rpc)
        view = Reader(recorder, chain.contract, chain.chain_id).at_block(number)
        # All that whoever verifies may ask: the release by this name or by its id, and what it is called.
        view.resolve(reference)
        release = view.resolve(AtRelease(release_id))
        view.model_name(release.model)
        if release.yanked:
            view.yank_reason(release_id)
    blocks = manifest_blocks(release, home.blocks)
    evidence = Evidence(chain.chain_id, chain.contract, number, recorder.answers)
    bundle = Bundle(evidence, release_id, blocks)
    _write(file, bundle, release.manifest_cid)
    document = {
        "release_id": str(release_id),
        "file": str(file),
        "bytes": file.stat().st_size,
        "block": number,
        "hash": "0x" + view.header.hash.hex(),
    }
    text = f"wrote {human_bytes(file.stat().st_size)} to {file}; trust block {document['hash']} to use it"
    session.output.result(document, text)


def _write(file: Path, bundle: "Bundle", manifest: "Cid") -> None:
    from modelreg_verifier.bundle import write_bundle

    with new_file(file) as opened:
        write_bundle(opened, bundle, manifest)
