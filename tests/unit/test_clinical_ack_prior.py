"""`prior_identifiers = "reject"`: AR 204 for a patient whose merge is known at receipt; `redirect` takes it."""

import pytest
from support.hl7 import message, pid
from support.inbox import msa

from config.settings import Settings
from node.clinical_feed import ClinicalFeed
from node.feeds.mllp_committer import Arrived
from node.store.inbox import open_inbox

MERGE = message("ADT^A40^ADT_A39", pid("100001"), "MRG|100002^^^HOSP^MR", control="M1")
LATE = message("ORU^R01^ORU_R01", pid("100002"), "OBR|1||V1|34565-2^^LN", control="M2")


@pytest.fixture
def send(ledger):
    """A function of the setting: sends a frame to a node with it, works the inbox off, gives MSA-1 and ERR-3."""
    inbox = open_inbox(ledger.url)

    def through(how):
        mllp = {"enabled": False, "prior_identifiers": how}
        feed = ClinicalFeed(ledger, inbox, Settings.model_validate({"clinical": {"mllp": mllp}}))

        def one(frame):
            (reply,) = feed.reception.commit([Arrived(data=frame, peer="127.0.0.1")])
            feed.consumer.work_off()
            return msa(reply), b"|204^Unknown key identifier^HL70357|E" in reply

        return one

    yield through
    inbox.close()


def test_ack_late_oru_for_the_prior_is_204_where_the_site_rejects_it(send):
    rejecting = send("reject")
    assert rejecting(message("ADT^A04", pid("100002"), control="M0")) == ("AA", False)
    assert rejecting(MERGE) == ("AA", False)
    assert rejecting(LATE) == ("AR", True)
    assert rejecting(LATE.replace(b"100002", b"100001")) == ("AA", False), "the survivor's"


def test_ack_late_oru_for_the_prior_is_taken_by_default(send):
    redirecting = send("redirect")
    assert redirecting(MERGE) == ("AA", False)
    assert redirecting(LATE) == ("AA", False)
