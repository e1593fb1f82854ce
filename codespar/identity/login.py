"""The console's log-in: e-mail, password and one-time code, all three at once. A member without an authenticator cannot log in."""

import time
from typing import Any
from uuid import UUID

from django.contrib.auth.hashers import check_password, make_password
from django.db import connection
from django.http import HttpRequest

from codespar.identity import totp
from codespar.identity.models import Member, MemberDevice, Organisation
from codespar.lib import db

# After that many wrong codes in a row a device waits, twice as long each time, at most an hour.
FREE_FAILURES = 3


class MemberBackend:
    """Django's authentication backend for members."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, otp: str | None = None
    ) -> Member | None:
        """The member whose e-mail, password and current code these are. A code works once."""
        if not username or not password or not otp:
            return None
        checked = False
        for org, member in db.rows("members_by_email", username):
            found = _member(org, member)
            checked |= found is not None
            if found and check_password(password, found.password) and _code_fits(org, member, otp):
                return found
        if not checked:
            # As much work for an unknown address as for a known one, so that the answer's time tells nothing.
            make_password(password)
        return None

    def get_user(self, user_id: Any) -> Member | None:
        """The member of a session, if still open."""
        org = next(iter(db.rows("member_org", UUID(str(user_id)))), (None,))[0]
        if org is None:
            return None
        return _member(org, user_id)


def _member(org: UUID, member: Any) -> Member | None:
    """An open member of an open organisation."""
    with db.tenant(org):
        if not Organisation.objects.filter(id=org, closed_at=None).exists():
            return None
        return Member.objects.for_org(org).filter(id=member, closed_at=None).first()


def _code_fits(org: UUID, member: UUID, code: str) -> bool:
    with db.tenant(org):
        device = MemberDevice.objects.for_org(org).filter(member_id=member).select_for_update().first()
        if device is None or _waits(device):
            return False
        step = totp.matching_step(bytes(device.sealed), org=org, device=device.id, code=code, at=time.time())
        fits = step is not None and step > device.last_step
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE member_devices SET last_step = greatest(last_step, %s), failures = %s,"
                " failed_at = CASE WHEN %s THEN NULL ELSE clock_timestamp() END WHERE org_id = %s AND id = %s",
                [step if fits else -1, 0 if fits else device.failures + 1, fits, str(org), str(device.id)],
            )
        return fits


def _waits(device: MemberDevice) -> bool:
    if device.failures < FREE_FAILURES or device.failed_at is None:
        return False
    pause = min(3600, 2 ** (device.failures - FREE_FAILURES + 1))
    return time.time() < device.failed_at.timestamp() + pause
