"""`policy`: who may judge a model's receipts, and what that can cost."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import FormatError, InputError
from modelreg.format.names import ModelName
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import ADDRESS, ETHER, WORD, cost, ether, log_writer, receipt_log
from modelreg_cli.session import MODEL, Session, pass_session

if TYPE_CHECKING:
    from modelreg.ledger.receipt_log_policy import Policy
    from modelreg.ledger.receipt_log_view import ReceiptLogView

__all__ = ["policy_command"]

_FILE_MAX = 64 << 10
_FIELDS: dict[str, click.ParamType[Any]] = {
    "model": MODEL,
    "auditors": ADDRESS,
    "quorum": click.INT,
    "penalty": ETHER,
    "withheld_penalty": ETHER,
    "minimum_bond": ETHER,
    "deadline": click.INT,
    "terms": WORD,
}


@click.group("policy")
def policy_command() -> None:
    """Say who may judge the receipts of a model, and see who may.

    A policy never changes. A node is judged only under policies that it enrolled in.
    """


@policy_command.command("create")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--model", type=MODEL, help="The model whose receipts are judged.")
@click.option("--auditor", "auditors", type=ADDRESS, multiple=True, help="An account that judges; repeat it.")
@click.option("--quorum", type=int, help="How many equal verdicts it takes: 2 or more, and a majority.")
@click.option("--penalty", type=ETHER, help="What a failed audit costs.")
@click.option("--withheld-penalty", type=ETHER, help="What withholding costs.  [default: the penalty]")
@click.option("--minimum-bond", type=ETHER, help="What a node needs to enrol.  [default: the penalty]")
@click.option(
    "--deadline", type=int, help="Seconds after an anchor in which it is judged.  [default: 13 days]"
)
@click.option("--terms", type=WORD, help="Digest of the auditors' rules.  [default: none]")
@password_file_option
@pass_session
def _create(session: Session, /, file: Path | None, password_file: Path | None, **options: Any) -> None:
    """Lay down a policy for a model, for good; it needs the role admin in the model's namespace.

    FILE is TOML with the options' names as keys (`auditors` is a list, amounts are texts in ether); options
    stand in for what it says.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    model, policy = _policy((_read(file) if file else {}) | given)
    with log_writer(session, password_file) as writer:
        receipt = writer.create_policy(model, policy)
    document = _document(policy) | {"model": str(model)} | cost(receipt)
    session.output.result(document, f"policy {document['policy']} of {model}")


@policy_command.command("show")
@click.argument("policy", type=WORD)
@pass_session
def _show(session: Session, policy: bytes) -> None:
    """Show POLICY."""
    from modelreg.ledger.receipt_log_view import ReceiptLogView

    with session.ledger() as view:
        found = ReceiptLogView.beside(view).require_policy(policy)
        name = view.model_name(found.model)
    document = _document(found) | {"model": str(name) if name else f"0x{found.model.hex()}"}
    shown = document | {"auditors": ", ".join(document["auditors"])}
    lines = [f"{key.replace('_', ' '):16}  {value}" for key, value in shown.items()]
    session.output.result(document, "\n".join(lines))


@policy_command.command("list")
@click.argument("model", type=MODEL)
@pass_session
def _list(session: Session, model: ModelName) -> None:
    """List the policies of MODEL, oldest first, and whether this home's key is enrolled."""
    with receipt_log(session) as log:
        documents = [_row(session, log, policy) for policy in log.policies(model.id)]
    lines = [
        f"{row['policy']}  {row['quorum']} of {len(row['auditors'])}  {row['penalty']} ETH"
        + ("  enrolled" if row["enrolled"] else "")
        for row in documents
    ]
    session.output.result(documents, "\n".join(lines) or "no policies")


def _row(session: Session, log: "ReceiptLogView", policy: bytes) -> dict[str, Any]:
    key = session.home.config.key
    found = log.enrolment(key, policy) if key else None
    enrolled = found is not None and found.until is None
    return _document(log.require_policy(policy)) | {"enrolled": enrolled}


def _read(file: Path) -> dict[str, Any]:
    from modelreg.store.files import os_errors, read_regular

    with os_errors(f"cannot read {file}"):
        raw = read_regular(file, _FILE_MAX)
    try:
        found = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the policy {file}", expected="TOML", found=str(error)[:200]) from None
    if unknown := found.keys() - _FIELDS.keys():
        raise InputError(f"the policy {file}", expected=", ".join(_FIELDS), found=min(unknown))
    return {name: _value(file, name, value) for name, value in found.items()}


def _value(file: Path, name: str, value: Any) -> Any:
    kind = _FIELDS[name]
    if name == "auditors":
        if not isinstance(value, list):
            raise InputError(f"auditors in {file}", expected="a list of addresses", found=ascii(value)[:80])
        return tuple(ADDRESS.convert(str(auditor)) for auditor in value)
    if kind is click.INT:
        if type(value) is not int:
            raise InputError(f"{name} in {file}", expected="a whole number", found=ascii(value)[:80])
        return value
    return kind.convert(str(value), None, None)


def _policy(fields: dict[str, Any]) -> tuple[ModelName, "Policy"]:
    from modelreg.ledger.receipt_log_policy import DEADLINE_MAX, Policy

    missing = [name for name in ("model", "auditors", "quorum", "penalty") if name not in fields]
    if missing:
        raise InputError(
            "a policy lacks its " + ", ".join(missing), hint="try `modelreg policy create --help`"
        )
    penalty, withheld = fields["penalty"], fields.get("withheld_penalty", fields["penalty"])
    policy = Policy(
        model=fields["model"].id,
        terms=fields.get("terms", bytes(32)),
        penalty=penalty,
        withheld_penalty=withheld,
        minimum_bond=fields.get("minimum_bond", max(penalty, withheld)),
        deadline=fields.get("deadline", DEADLINE_MAX),
        quorum=fields["quorum"],
        auditors=tuple(sorted(fields["auditors"])),
    )
    return fields["model"], policy


def _document(policy: "Policy") -> dict[str, Any]:
    return {
        "policy": f"0x{policy.policy_id.hex()}",
        "auditors": [f"0x{auditor.hex()}" for auditor in policy.auditors],
        "quorum": policy.quorum,
        "penalty": ether(policy.penalty),
        "withheld_penalty": ether(policy.withheld_penalty),
        "minimum_bond": ether(policy.minimum_bond),
        "deadline": policy.deadline,
        "terms": f"0x{policy.terms.hex()}" if any(policy.terms) else None,
    }
