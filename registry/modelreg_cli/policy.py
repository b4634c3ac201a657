"""`policy`: who may judge a model's receipts, and what that can cost."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.errors import FormatError, InputError, ModelregError
from modelreg.format.names import ModelName
from modelreg_cli.audit_blocks import keep_block
from modelreg_cli.password import password_file_option
from modelreg_cli.receipt_log import ADDRESS, ETHER, WORD, cost, ether, log_writer, receipt_log
from modelreg_cli.session import MODEL, Session, pass_session

if TYPE_CHECKING:
    from modelreg.format.terms import Terms
    from modelreg.ledger.receipt_log_policy import Policy
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg_verifier.terms.rules import Rules

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
    "parties": ADDRESS,
    "strict": click.BOOL,
}
_LISTS = ("auditors", "parties")


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
@click.option(
    "--party", "parties", type=ADDRESS, multiple=True, help="Whose calibrations count, beside the auditors'."
)
@click.option("--strict", is_flag=True, help="Nodes must run plans and runtimes that a party vouches for.")
@password_file_option
@pass_session
def _create(session: Session, /, file: Path | None, password_file: Path | None, **options: Any) -> None:
    """Lay down a policy for a model, for good; it needs the role admin in the model's namespace.

    FILE is TOML with the options' names as keys (`auditors` and `parties` are lists, amounts are texts in
    ether); options stand in for what it says. What the parties attach to a release with `modelreg calibrate
    --attach` says how far honest machines lie apart.
    """
    from modelreg.format.terms import Terms
    from modelreg_verifier.terms.rules import Rules

    given = {name: value for name, value in options.items() if value not in (None, (), False)}
    fields = (_read(file) if file else {}) | given
    terms = _terms(fields)
    if terms is not None:
        keep_block(session, f"terms/{terms.digest.hex()}", bytes(terms))
    model, policy = _policy(fields, terms.digest if terms else bytes(32))
    with log_writer(session, password_file) as writer:
        receipt = writer.create_policy(model, policy)
    rules = Rules(policy, terms or Terms(policy.auditors))
    document = _document(policy) | _rules_document(rules) | {"model": str(model)} | cost(receipt)
    session.output.result(document, f"policy {document['policy']} of {model}")


@policy_command.command("show")
@click.argument("policy", type=WORD)
@pass_session
def _show(session: Session, policy: bytes) -> None:
    """Show POLICY."""
    from modelreg.ledger.receipt_log_view import ReceiptLogView
    from modelreg_verifier.terms.rules import Rules

    with session.ledger() as view:
        log = ReceiptLogView.beside(view)
        found = log.require_policy(policy)
        name = view.model_name(found.model)
        rules = _known(lambda: Rules.read(log, policy, session.home.blocks))
    model = str(name) if name else f"0x{found.model.hex()}"
    document = _document(found) | _rules_document(rules) | {"model": model}
    shown = {key: ", ".join(row) if isinstance(row, list) else row for key, row in document.items()}
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


def _known(read: "Callable[[], Rules]") -> "Rules | None":
    """The policy's rules, unless their block is not to be had or is none."""
    try:
        return read()
    except ModelregError:
        return None


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
    if name in _LISTS:
        if not isinstance(value, list):
            raise InputError(f"{name} in {file}", expected="a list of addresses", found=ascii(value)[:80])
        return tuple(ADDRESS.convert(str(account)) for account in value)
    if kind is click.BOOL:
        if not isinstance(value, bool):
            raise InputError(f"{name} in {file}", expected="true or false", found=ascii(value)[:80])
        return value
    if kind is click.INT:
        if type(value) is not int:
            raise InputError(f"{name} in {file}", expected="a whole number", found=ascii(value)[:80])
        return value
    return kind.convert(str(value), None, None)


def _terms(fields: dict[str, Any]) -> "Terms | None":
    """The policy's terms; None if they would say what holds without any."""
    from modelreg.format.terms import Terms

    parties = tuple(sorted({*fields.get("parties", ()), *fields.get("auditors", ())}))
    if not fields.get("parties") and not fields.get("strict"):
        return None
    return Terms(parties, bool(fields.get("strict")))


def _policy(fields: dict[str, Any], terms: bytes) -> tuple[ModelName, "Policy"]:
    from modelreg.ledger.receipt_log_policy import DEADLINE_MAX, Policy

    missing = [name for name in ("model", "auditors", "quorum", "penalty") if name not in fields]
    if missing:
        raise InputError(
            "a policy lacks its " + ", ".join(missing), hint="try `modelreg policy create --help`"
        )
    penalty, withheld = fields["penalty"], fields.get("withheld_penalty", fields["penalty"])
    policy = Policy(
        model=fields["model"].id,
        terms=terms,
        penalty=penalty,
        withheld_penalty=withheld,
        minimum_bond=fields.get("minimum_bond", max(penalty, withheld)),
        deadline=fields.get("deadline", DEADLINE_MAX),
        quorum=fields["quorum"],
        auditors=tuple(sorted(fields["auditors"])),
    )
    return fields["model"], policy


def _rules_document(rules: "Rules | None") -> dict[str, Any]:
    return {
        "parties": [f"0x{party.hex()}" for party in rules.parties] if rules else None,
        "strict": rules.terms.strict if rules else None,
    }


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
