"""The errors of object stores: what they mean for a call, and as one line for the user.

Works on names of exceptions and on their texts, so that obstore need not be imported.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING

from venice_batch.api.errors_in import shortened
from venice_batch.errors import BucketError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Fault(Enum):
    """What an error means for the call that met it."""

    MISSING = auto()
    """There is no object of that name."""
    CONFLICT = auto()
    """A condition does not hold, or another writer is at work on the same name."""
    SLOW = auto()
    """No answer came in time. The call may have been carried out."""
    PASSING = auto()
    """The same call may succeed later. It may have been carried out."""
    UNREACHABLE = auto()
    """No connection: a wrong endpoint if it happens at once, else an outage."""
    FINAL = auto()
    """The same call fails again."""


_STATUS = re.compile(r"status code: (\d{3})( [A-Za-z' -]+)?")
_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,1000}?)\s*(?:RequestId:[^<]*)?</Message>")
_GENERIC = re.compile(r"Generic \w+ error: ")
_QUERY = re.compile(r"(https?://[^\s?]*)\?\S*")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist", "InvalidBucketName")
_NO_CREDENTIALS = ("169.254.169.254", "metadata.google.internal", "token request", "MissingCredentials", "Imds")
_TIMED_OUT = ("TimedOut", "kind: Timeout", "operation timed out")
_CONNECT = "kind: Connect"
_CAUSES = re.compile(r"(Name or service not known|[Cc]onnection refused|dns error|certificate[^\"\n]{0,80})")
_SECRET_NAMES = re.compile(r"(?:^|_)(?:KEY|SECRET|TOKEN|SAS|PASSWORD|CREDENTIALS?|STRING)(?:_|$)")
_STORES = ("AWS_", "AZURE_", "GOOGLE_", "GCS_")
_SHORTEST_SECRET = 8


def classify(error: Exception) -> Fault:
    """Return what an exception of obstore means."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, FileNotFoundError):
        return Fault.FINAL if any(sign in text for sign in _NO_BUCKET) else Fault.MISSING
    if name in ("AlreadyExistsError", "PreconditionError"):
        return Fault.CONFLICT
    if name != "GenericError":
        return Fault.FINAL
    status = status_of(error)
    if lacks_credentials(error):
        # Instance roles are fetched anew every few hours. The store decides by what has succeeded before.
        return Fault.UNREACHABLE
    if status:
        if status == 409:
            return Fault.CONFLICT
        return Fault.PASSING if status in (408, 425, 429) or (status >= 500 and status != 501) else Fault.FINAL
    if _CONNECT in text:
        return Fault.UNREACHABLE
    if any(sign in text for sign in _TIMED_OUT):
        return Fault.SLOW
    return Fault.PASSING if "HTTP error" in text or "HttpError" in text else Fault.FINAL


def status_of(error: Exception) -> int:
    """Return the HTTP status that an exception of obstore names, 0 if it names none."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def lacks_credentials(error: Exception) -> bool:
    """Return whether the client asked a metadata service for credentials and got none."""
    first = str(error).split("Debug source", maxsplit=1)[0]
    return any(sign in first for sign in _NO_CREDENTIALS)


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of variables that hold a store's secrets, the longest first."""
    found = {
        value
        for name, value in environ.items()
        if name.startswith(_STORES) and _SECRET_NAMES.search(name) and len(value) >= _SHORTEST_SECRET
    }
    return tuple(sorted(found, key=len, reverse=True))


def first_line(error: Exception) -> str:
    """Return the part of an error's text that is written for people."""
    return _GENERIC.sub("", str(error).split("\n", maxsplit=1)[0])


def without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """Return `text` without the secrets, and without the queries of URLs, which hold signatures."""
    text = _QUERY.sub(r"\1", text)
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def explain(address: str, error: Exception, redact: Callable[[str], str], *, tried_s: float = 0.0) -> BucketError:
    """Return the BucketError for an error that ends a call; `tried_s` is for how long the call was repeated."""
    status = status_of(error)
    said = shortened(redact(_said(error)))
    spent = f" for {tried_s:.0f} s" if tried_s >= 1 else ""
    if lacks_credentials(error):
        how = _HOW_TO_LOG_IN[address.partition("://")[0]]
        return BucketError(address, f"no credentials found; {how}", is_outage=True)
    if any(sign in str(error) for sign in _NO_BUCKET) or status == 404:
        return BucketError(address, "there is no such bucket; create it, or check its name and the endpoint")
    if status in (401, 403) or "ExpiredToken" in said:
        rights = "check the bucket's name and the credentials, which must be allowed to read, write, list and delete"
        return BucketError(address, f"access refused ({said}); {rights}")
    if status == 501:
        return BucketError(address, f"the store lacks a call that this needs ({said}); use another store")
    fault = classify(error)
    if fault is Fault.UNREACHABLE:
        reason = f"cannot be reached{spent} ({said}); check the network and the endpoint"
        return BucketError(address, reason, is_outage=True)
    if fault in (Fault.PASSING, Fault.SLOW, Fault.CONFLICT):
        reason = f"the store failed{spent} ({said}); run the same command again later"
        return BucketError(address, reason, is_outage=True)
    return BucketError(address, f"the store refused a call ({said})")


_HOW_TO_LOG_IN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or run where an identity is attached",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run where a service account is attached",
}


def _said(error: Exception) -> str:
    """Return the part of an error's text that helps: status, code and message, or the cause of a lost connection."""
    text = str(error)
    status = _STATUS.search(text)
    if status:
        words = f"{status[1]}{(status[2] or '').rstrip()}"
        details = [found[1] for found in (_CODE.search(text), _MESSAGE.search(text)) if found]
        return f"{words}: {': '.join(details)}" if details else words
    if classify(error) is Fault.SLOW:
        return "no answer in time"
    cause = _CAUSES.search(text)
    return cause[1] if cause else first_line(error)
