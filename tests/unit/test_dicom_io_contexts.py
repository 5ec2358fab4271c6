"""Presentation contexts are copied for each association: what it writes into its own reaches no other."""

from __future__ import annotations

import copy

from pydicom import uid
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext

from dicom_io.contexts import Contexts


def entity() -> AE:
    ae = AE("OSTEON")
    for sop_class in (uid.DigitalXRayImageStorageForPresentation, uid.EnhancedSRStorage):
        ae.add_supported_context(sop_class, [uid.ExplicitVRLittleEndian, uid.RLELossless], scu_role=True)
    return ae


def test_a_copy_equals_what_deepcopy_makes_of_a_plain_list():
    offered = entity().supported_contexts
    plain = copy.deepcopy(list[PresentationContext](offered))
    copied = copy.deepcopy(Contexts(offered))
    assert [vars(one) for one in copied] == [vars(one) for one in plain]
    assert type(copied) is list


def test_what_an_association_writes_into_its_copy_stays_there():
    offered = Contexts(entity().supported_contexts)
    before = [dict(vars(one)) for one in offered]
    copied = copy.deepcopy(offered)
    for number, context in enumerate(copied):
        context.context_id, context.result, context.scu_role = 2 * number + 1, 0x03, False
        context.transfer_syntax = [uid.ImplicitVRLittleEndian]
        context.add_transfer_syntax(uid.ExplicitVRBigEndian)
    assert [vars(one) for one in offered] == before
