"""`namespace`: who owns a name, and what other accounts may do in it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelreg.config import parse_address
from modelreg.errors import InputError, NotFoundError, NotPermittedError
from modelreg.format.names import check_namespace
from modelreg_cli.password import password_file_option
from modelreg_cli.session import Session, pass_session

if TYPE_CHECKING:
    from modelreg.ledger.endpoint import Receipt
    from modelreg.ledger.records import Namespace, Role
    from modelreg.ledger.view import View

__all__ = ["namespace_command"]

_ROLES = ("publish", "yank", "channel", "admin")
_NOBODY = bytes(20)


class _NamespaceType(click.ParamType[str]):
    name = "NAMESPACE"

    def convert(self, value: object, *_: object) -> str:
        return check_namespace(str(value))


class _AddressType(click.ParamType[bytes]):
    name = "ADDRESS"

    def convert(self, value: object, *_: object) -> bytes:
        return value if isinstance(value, bytes) else parse_address(str(value))


_NAMESPACE = click.argument("namespace", type=_NamespaceType())
_ACCOUNT = click.argument("account", type=_AddressType())
_ROLE = click.Choice(_ROLES, case_sensitive=False)


@click.group("namespace")
def namespace_command() -> None:
    """Show, share and hand over namespaces.

    The owner of a namespace may do everything in it. Other accounts may have the roles publish, yank, channel
    (to move channels) and admin (to grant and revoke the other three).
    """


@namespace_command.command("show")
@_NAMESPACE
@click.option("--account", type=_AddressType(), help="Whose roles to show.  [default: this home's key]")
@pass_session
def _show(session: Session, namespace: str, account: bytes | None) -> None:
    """Show the owner of NAMESPACE, whom it is offered to, and the roles of an account."""
    account = account or session.home.config.key
    with session.ledger() as view:
        found = _existing(view, namespace)
        roles = _names(view.roles(namespace, account)) if account else None
    document = {
        "namespace": namespace,
        "owner": _hex(found.owner),
        "pending_owner": _hex(found.pending_owner) if found.pending_owner else None,
        "account": _hex(account) if account else None,
        "roles": roles,
    }
    lines = [f"owner    {document['owner']}"]
    if found.pending_owner:
        lines.append(f"offered  to {document['pending_owner']}")
    if account:
        lines.append(f"account  {document['account']}: {_listed(roles or [])}")
    session.output.result(document, "\n".join(lines))


@namespace_command.command("grant")
@_NAMESPACE
@_ACCOUNT
@click.argument("roles", type=_ROLE, nargs=-1, required=True, metavar="ROLE...")
@password_file_option
@pass_session
def _grant(
    session: Session, namespace: str, account: bytes, roles: tuple[str, ...], password_file: Path | None
) -> None:
    """Give ACCOUNT each ROLE in NAMESPACE, besides those that it has: publish, yank, channel or admin."""
    with session.ledger() as view:
        if _existing(view, namespace).owner == account:
            raise InputError(f"{_hex(account)} owns {namespace} and has every role")
        before = view.roles(namespace, account)
        _set_roles(session, view, namespace, account, before | _role(roles), password_file)


@namespace_command.command("revoke")
@_NAMESPACE
@_ACCOUNT
@click.argument("roles", type=_ROLE, nargs=-1, metavar="[ROLE...]")
@password_file_option
@pass_session
def _revoke(
    session: Session, namespace: str, account: bytes, roles: tuple[str, ...], password_file: Path | None
) -> None:
    """Take each ROLE in NAMESPACE away from ACCOUNT; all of them if none is named."""
    with session.ledger() as view:
        if _existing(view, namespace).owner == account:
            raise InputError(
                f"{_hex(account)} owns {namespace}: an owner's roles cannot be revoked",
                hint=f"hand it over: modelreg namespace transfer {namespace} ACCOUNT",
            )
        before = view.roles(namespace, account)
        after = before & ~_role(roles or _ROLES)
        _set_roles(session, view, namespace, account, after, password_file)


@namespace_command.command("transfer")
@_NAMESPACE
@_ACCOUNT
@password_file_option
@pass_session
def _transfer(session: Session, namespace: str, account: bytes, password_file: Path | None) -> None:
    """Offer NAMESPACE to ACCOUNT, which becomes its owner with `namespace accept`.

    An offer replaces the one before; an offer to the address 0 only withdraws it. When the new owner accepts,
    all roles that were granted before end.
    """
    with session.ledger() as view:
        found = _existing(view, namespace)
        _require_owner(session, namespace, found)
        if account == found.owner:
            raise InputError(f"{_hex(account)} owns {namespace} already")
        with session.writer(password_file) as writer:
            receipt = writer.transfer_namespace(namespace, account)
    offer = None if account == _NOBODY else _hex(account)
    document = {"namespace": namespace, "owner": _hex(found.owner), "pending_owner": offer}
    _report(session, view, document, f"{namespace} is offered to {offer or 'nobody'}", receipt)


@namespace_command.command("accept")
@_NAMESPACE
@password_file_option
@pass_session
def _accept(session: Session, namespace: str, password_file: Path | None) -> None:
    """Become the owner of NAMESPACE, which was offered to this home's key."""
    own = session.home.key
    with session.ledger() as view:
        found = _existing(view, namespace)
        if own not in (found.owner, found.pending_owner):
            raise NotPermittedError(
                f"{namespace} is not offered to {_hex(own)}",
                expected=f"an offer of its owner {_hex(found.owner)}",
                found=f"one to {_hex(found.pending_owner)}" if found.pending_owner else "none",
                hint=f"the owner makes it: modelreg namespace transfer {namespace} {_hex(own)}",
            )
        with session.writer(password_file) as writer:
            receipt = writer.accept_namespace(namespace)
    document = {"namespace": namespace, "owner": _hex(own), "before": _hex(found.owner)}
    _report(session, view, document, f"{_hex(own)} owns {namespace}", receipt)


def _set_roles(
    session: Session, view: "View", namespace: str, account: bytes, roles: "Role", password_file: Path | None
) -> None:
    before = view.roles(namespace, account)
    _require_admin(session, view, namespace, changed=before ^ roles)
    with session.writer(password_file) as writer:
        receipt = writer.set_roles(namespace, account, roles)
    document = {
        "namespace": namespace,
        "account": _hex(account),
        "roles": _names(roles),
        "before": _names(before),
    }
    _report(session, view, document, f"{_hex(account)} in {namespace}: {_listed(_names(roles))}", receipt)


def _require_admin(session: Session, view: "View", namespace: str, *, changed: "Role") -> None:
    """Say before the work what the ledger would refuse."""
    from modelreg.ledger.records import Role

    own = session.home.key
    roles = view.roles(namespace, own)
    needed = Role.OWNER if changed & Role.ADMIN else Role.ADMIN
    if not roles & needed:
        raise NotPermittedError(
            f"{_hex(own)} may not change these roles in {namespace}",
            expected=f"the role {str(needed.name).lower()}",
            found=_listed(_names(roles)),
            hint="only the owner makes and unmakes admins"
            if needed is Role.OWNER
            else "ask its owner for it",
        )


def _require_owner(session: Session, namespace: str, found: "Namespace") -> None:
    if session.home.key != found.owner:
        raise NotPermittedError(
            f"only its owner hands {namespace} over",
            expected=_hex(found.owner),
            found=_hex(session.home.key),
            hint="if this home has the owner's key, choose it: modelreg key use",
        )


def _existing(view: "View", namespace: str) -> "Namespace":
    found = view.namespace(namespace)
    if found is None:
        hint = "the first `modelreg publish` in it claims it"
        raise NotFoundError(f"nobody has claimed the namespace {namespace}", hint=hint)
    return found


def _report(
    session: Session, view: "View", document: dict[str, Any], text: str, receipt: "Receipt | None"
) -> None:
    # What was sent before this run comes back as a receipt too.
    changed = receipt is not None and receipt.block > view.header.number
    document |= {
        "changed": changed,
        "tx": "0x" + receipt.transaction.hex() if receipt else None,
        "gas": receipt.gas_used if receipt else None,
    }
    session.output.result(document, text if changed else f"nothing changed: {text}")


def _role(names: tuple[str, ...]) -> "Role":
    from modelreg.ledger.records import Role

    role = Role(0)
    for name in names:
        role |= Role[name.upper()]
    return role


def _names(roles: "Role") -> list[str]:
    """Role names in the order of their bits, `owner` instead of all."""
    from modelreg.ledger.records import Role

    if Role.OWNER in roles:
        return ["owner"]
    return [str(role.name).lower() for role in Role if role in roles]


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "no role"


def _hex(address: bytes) -> str:
    return "0x" + address.hex()
