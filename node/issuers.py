"""Who issued an identifier, under whatever name a system calls it: the site's list of assigning authorities.

Every identifier of a feed or an image passes here before anything is compared, so that an alias, a half-stated
authority and a padded number are one spelling from then on. An authority that the site does not list stays as sent.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

from config.clinical import Issuer
from model.domain import AssigningAuthority, Identifier, PatientIdentity

_OID = re.compile(r"\d+(\.\d+)+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuers:
    """The site's assigning authorities. Without any, identifiers are only trimmed."""

    listed: tuple[Issuer, ...] = ()

    def canonical(self, identifier: Identifier) -> Identifier:
        """The identifier in the spelling everything is stored and looked up by."""
        value = identifier.value.strip()
        issuer = self._of(identifier.authority)
        if issuer is None:
            return Identifier(value=value, authority=identifier.authority)
        if issuer.strip_leading_zeros:
            value = value.lstrip("0") or value
        return Identifier(value=value, authority=_own(issuer))

    def identity(self, identity: PatientIdentity) -> PatientIdentity:
        """`identity` with canonical identifiers."""
        identifiers = tuple(dict.fromkeys(self.canonical(i) for i in identity.identifiers))
        return dataclasses.replace(identity, identifiers=identifiers)

    def named(self, name: str) -> AssigningAuthority:
        """The authority meant by a namespace, an OID or `NAMESPACE&OID&ISO`; unstated for an empty name."""
        name = name.strip()
        if "&" in name:
            namespace, universal_id, kind = (*name.split("&"), "")[:3]
            stated = AssigningAuthority(namespace=namespace, universal_id=universal_id, universal_id_type=kind)
            return self.canonical(Identifier(value="", authority=stated)).authority
        issuer = next((i for i in self.listed if name in i.names), None)
        if issuer is not None:
            return _own(issuer)
        if _OID.fullmatch(name):
            return AssigningAuthority(universal_id=name, universal_id_type="ISO")
        return AssigningAuthority(namespace=name)

    def forms(self, value: str) -> Iterator[str]:
        """Values under which an identifier of an unknown issuer may be stored; each to be checked by `canonical`."""
        value = value.strip()
        yield value
        bare = value.lstrip("0")
        if bare not in ("", value) and any(i.strip_leading_zeros for i in self.listed):
            yield bare

    def _of(self, authority: AssigningAuthority) -> Issuer | None:
        return next((i for i in self.listed if _is(i, authority)), None)


def _own(issuer: Issuer) -> AssigningAuthority:
    return AssigningAuthority(
        namespace=issuer.namespace, universal_id=issuer.universal_id, universal_id_type=issuer.universal_id_type
    )


def _is(issuer: Issuer, authority: AssigningAuthority) -> bool:
    """Whether namespace or universal ID agree, unless both universal IDs exist and differ."""
    if authority.universal_id:
        if authority.universal_id in issuer.names:
            return True
        if issuer.universal_id:
            return False
    return authority.namespace in issuer.names
