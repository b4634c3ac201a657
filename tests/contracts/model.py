"""What ModelRegistry must do, in plain Python: docs/spec/contract.md, sections 2 to 4."""

import re
from dataclasses import dataclass, field

from tests.reference.contract import NONE, model_id, release_id, text_of

PUBLISH, YANK, CHANNEL, ADMIN, OWNER = 1, 2, 4, 8, 16
GRANTABLE = PUBLISH | YANK | CHANNEL | ADMIN
NOBODY = "0x" + "00" * 20

_NAMESPACE = re.compile(rb"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NAME = re.compile(rb"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_BRANCH = re.compile(rb"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
# The pattern that semver.org suggests.
_VERSION = re.compile(
    rb"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    rb"(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    rb"(\+([0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*))?"
)


class RefusedError(Exception):
    """The call must revert with this (name, arguments...)."""


def refuse_if(wrong, name, *args):
    if wrong:
        raise RefusedError(name, *args)


def is_namespace(label: bytes) -> bool:
    return _NAMESPACE.fullmatch(text_of(label)) is not None


def is_version(label: bytes) -> bool:
    return _VERSION.fullmatch(text_of(label)) is not None


def is_branch(label: bytes) -> bool:
    return _BRANCH.fullmatch(text_of(label)) is not None


def is_channel(label: bytes) -> bool:
    return is_branch(label) and not is_version(label)


def is_model_name(name: str) -> bool:
    raw = name.encode()
    return len(raw) <= 96 and b".." not in raw and _NAME.fullmatch(raw) is not None


@dataclass
class Model:
    namespace: bytes
    name: str
    branches: list[bytes] = field(default_factory=list)
    channels: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Channel:
    current: bytes = NONE
    next: bytes = NONE
    activation: int = 0

    def at(self, block: int) -> bytes:
        return self.next if 0 < self.activation <= block else self.current


@dataclass
class Registry:
    """The state; each method does what the contract's function of that name does, or raises RefusedError."""

    owners: dict[bytes, str] = field(default_factory=dict)
    offers: dict[bytes, str] = field(default_factory=dict)
    grants: dict[tuple[bytes, str], tuple[int, str]] = field(default_factory=dict)
    models: dict[bytes, Model] = field(default_factory=dict)
    heads: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    versions: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    channels: dict[tuple[bytes, bytes], Channel] = field(default_factory=dict)
    releases: dict[bytes, dict] = field(default_factory=dict)
    reasons: dict[bytes, str] = field(default_factory=dict)
    events: list[tuple[str, dict]] = field(default_factory=list)
    now: int = 0
    block: int = 0

    def _emit(self, name, /, **values):
        self.events.append((name, values))

    def role_of(self, namespace, account):
        owner = self.owners.get(namespace)
        if owner == account:
            return GRANTABLE | OWNER
        return self._granted(namespace, account)

    def _granted(self, namespace, account):
        roles, under = self.grants.get((namespace, account), (0, NOBODY))
        return roles if under == self.owners.get(namespace) else 0

    def _require(self, role, namespace, sender):
        refuse_if(namespace not in self.owners, "UnknownNamespace", namespace)
        refuse_if(self.role_of(namespace, sender) & role == 0, "NotPermitted", sender, role)

    def claim_namespace(self, sender, namespace):
        refuse_if(not is_namespace(namespace), "BadLabel", namespace)
        refuse_if(namespace in self.owners, "NamespaceTaken", self.owners.get(namespace))
        self.owners[namespace] = sender
        self._emit("NamespaceClaimed", namespace=namespace, owner=sender)

    def transfer_namespace(self, sender, namespace, to):
        self._require(OWNER, namespace, sender)
        self.offers[namespace] = to
        self._emit("NamespaceOffered", namespace=namespace, owner=sender, pendingOwner=to)

    def accept_namespace(self, sender, namespace):
        refuse_if(namespace not in self.owners, "UnknownNamespace", namespace)
        offered = self.offers.get(namespace, NOBODY)
        refuse_if(offered != sender, "NotPendingOwner", sender, offered)
        before = self.owners[namespace]
        self.owners[namespace] = sender
        self.offers[namespace] = NOBODY
        self._emit("NamespaceTransferred", **{"namespace": namespace, "from": before, "to": sender})

    def set_roles(self, sender, namespace, account, roles):
        self._require(ADMIN, namespace, sender)
        refuse_if(roles & ~GRANTABLE, "BadRoles", roles)
        owner = self.owners[namespace]
        touches_admin = (self._granted(namespace, account) ^ roles) & ADMIN
        refuse_if(touches_admin and sender != owner, "NotPermitted", sender, OWNER)
        self.grants[namespace, account] = (roles, owner)
        self._emit("RolesSet", namespace=namespace, account=account, roles=roles, by=sender)

    def publish(self, sender, namespace, name, version, branch, parent, root, manifest, code):
        self._require(PUBLISH, namespace, sender)
        refuse_if(NONE in (root, manifest), "ZeroDigest")
        refuse_if(code not in (0x12, 0x1E), "BadHashCode", code)
        model = model_id(namespace, name)
        is_new_model = model not in self.models
        refuse_if(is_new_model and not is_model_name(name), "BadModelName")
        head = self.heads.get((model, branch))
        refuse_if(head is None and not is_branch(branch), "BadLabel", branch)
        refuse_if(head not in (None, parent), "HeadMoved", parent, head)
        refuse_if(parent not in (NONE, *self.releases), "UnknownRelease", parent)
        taken = self.versions.get((model, version))
        refuse_if(taken, "VersionTaken", taken)
        refuse_if(not is_version(version), "BadLabel", version)

        seq = self.releases[parent]["seq"] + 1 if parent != NONE else 1
        release = release_id(model, version, branch, parent, root, manifest, code, seq)
        if is_new_model:
            full_name = f"{text_of(namespace).decode()}/{name}"
            self.models[model] = Model(namespace, full_name)
            self._emit("ModelCreated", model=model, name=full_name)
        if head is None:
            self.models[model].branches.append(branch)
        self.heads[model, branch] = self.versions[model, version] = release
        self.releases[release] = {
            "model": model,
            "parent": parent,
            "contentRoot": root,
            "manifestDigest": manifest,
            "version": version,
            "branch": branch,
            "publisher": sender,
            "publishedAt": self.now,
            "seq": seq,
            "manifestHash": code,
            "yanked": False,
        }
        self._emit("Published", model=model, release=release, parent=parent, version=version, branch=branch)
        return release

    def yank(self, sender, release, reason):
        refuse_if(release not in self.releases, "UnknownRelease", release)
        body = self.releases[release]
        self._require(YANK, self.models[body["model"]].namespace, sender)
        refuse_if(body["yanked"], "AlreadyYanked", release)
        size = len(reason.encode())
        refuse_if(not 1 <= size <= 256, "BadReason", size)
        body["yanked"] = True
        self.reasons[release] = reason
        self._emit("Yanked", model=body["model"], release=release, by=sender, reason=reason)

    def set_channel(self, sender, model, channel, release, expected, activation):
        refuse_if(model not in self.models, "UnknownModel", model)
        self._require(CHANNEL, self.models[model].namespace, sender)
        refuse_if(release not in self.releases, "UnknownRelease", release)
        body = self.releases[release]
        refuse_if(body["model"] != model, "ForeignRelease", release, body["model"])
        refuse_if(body["yanked"], "AlreadyYanked", release)
        refuse_if(0 < activation <= self.block, "ActivationPassed", activation, self.block)
        before = self.channels.get((model, channel), Channel())
        previous = before.next if before.activation else before.current
        refuse_if(previous != expected, "ChannelMoved", expected, previous)
        if previous == NONE:
            refuse_if(not is_channel(channel), "BadLabel", channel)
            self.models[model].channels.append(channel)
        self.channels[model, channel] = (
            Channel(before.at(self.block), release, activation) if activation else Channel(release)
        )
        self._emit(
            "ChannelSet",
            model=model,
            channel=channel,
            release=release,
            previous=previous,
            activation=activation,
        )
