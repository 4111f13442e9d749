"""S3 settings for the table libraries, and checks of access to S3 with clearer messages than theirs."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from cilf.errors import UsageError
from cilf.storage import Location, problem, remove, write

_FOUND_BY_ALL = frozenset({"env", "iam-role", "container-role", "assume-role-with-web-identity"})
"""Methods by which every library finds and renews credentials itself. Profiles are not among them."""


@dataclass(frozen=True)
class S3Settings:
    """The settings in the usual AWS variables and files, as botocore reads them."""

    endpoint: str | None
    region: str | None
    keys: tuple[str, str, str | None] | None
    """Key, secret and token; None if libraries find them themselves."""


def s3_settings() -> S3Settings:
    """The current settings of this process."""
    from botocore.session import Session

    session = Session()
    variables = [os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")]
    with suppress(Exception):  # no such profile: the first access to the store reports it
        variables.append(session.get_scoped_config().get("endpoint_url"))
    endpoint = next(filter(None, variables), None)
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    keys = None
    with suppress(Exception):
        credentials = session.get_credentials()
        if credentials and credentials.method not in _FOUND_BY_ALL:
            frozen = credentials.get_frozen_credentials()
            keys = frozen.access_key, frozen.secret_key, frozen.token
    return S3Settings(endpoint, region or ("us-east-1" if endpoint else None), keys)


def check_reachable(place: Location, what: str) -> None:
    """Make sure that a store answers, and that the bucket exists.

    Args:
        what: the action that messages name after "cannot", such as "open the Delta table".

    Raises:
        UsageError: the store does not answer, or there is no such bucket.
    """
    try:
        try:
            place.fs.ls(place.path)
        except FileNotFoundError:  # of a folder or of the bucket
            place.fs.ls(place.path.partition("/")[0])
    except PermissionError:
        return  # The store answers; permissions that do not cover listing may be all that a table needs.
    except Exception as error:
        raise UsageError(f"cannot {what}: {problem(error, place.url)}") from error


def check_writable(place: Location, what: str) -> None:
    """Make sure that files can be written below a folder, by writing one that readers of tables ignore.

    Raises:
        UsageError: the file cannot be written.
    """
    probe = place / ".cilf-probe"
    try:
        write(probe, b"")
    except Exception as error:
        raise UsageError(f"cannot {what}: {problem(error, place.url)}") from error
    with suppress(Exception):  # Tables do not need permission to delete.
        remove(probe)
