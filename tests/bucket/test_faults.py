"""The errors of stores: what each means for a call, and for the user."""

import pytest
from faulty_store import FAULTS, REFUSED, answered
from obstore.exceptions import GenericError, InvalidPathError, PermissionDeniedError

from venice_batch.bucket.faults import Fault, classify, explain, secrets_in, without_secrets

NO_CREDENTIALS = (
    "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1ms - Server returned non-2xx "
    "status code: 403 Forbidden: denied\n\nDebug source:\nGeneric"
)
NO_BUCKET = answered(404, "Not Found", "NoSuchBucket")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (FileNotFoundError("Object at location k not found"), Fault.MISSING),
        (FileNotFoundError(NO_BUCKET), Fault.FINAL),
        (FAULTS["409"](), Fault.CONFLICT),
        (FAULTS["412"](), Fault.CONFLICT),
        (GenericError(answered(409, "Conflict")), Fault.CONFLICT),
        (FAULTS["503"](), Fault.PASSING),
        (GenericError(answered(500, "Internal Server Error")), Fault.PASSING),
        (GenericError(answered(429, "Too Many Requests")), Fault.PASSING),
        (GenericError("Generic S3 error: HTTP error: error sending request"), Fault.PASSING),
        (FAULTS["501"](), Fault.FINAL),
        (FAULTS["400"](), Fault.FINAL),
        (FAULTS["403"](), Fault.FINAL),
        (InvalidPathError("x"), Fault.FINAL),
        (ValueError("x"), Fault.FINAL),
        (GenericError("Generic S3 error: something else"), Fault.FINAL),
        (FAULTS["hangs"](), Fault.SLOW),
        (FAULTS["unreachable"](), Fault.UNREACHABLE),
        (GenericError(NO_CREDENTIALS), Fault.UNREACHABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_an_error_says_whether_the_call_may_succeed_later(error, fault):
    assert classify(error) is fault


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (GenericError(NO_BUCKET), "there is no such bucket; create it, or check its name and the endpoint"),
        (FileNotFoundError(NO_BUCKET), "there is no such bucket; create it, or check its name and the endpoint"),
        (
            PermissionDeniedError(answered(403, "Forbidden", "AccessDenied")),
            "access refused (403 Forbidden: AccessDenied: Some words.); "
            "check the bucket's name and the credentials, which must be allowed to read, write, list and delete",
        ),
        (
            GenericError(answered(400, "Bad Request", "ExpiredToken")),
            "access refused (400 Bad Request: ExpiredToken: Some words.); "
            "check the bucket's name and the credentials, which must be allowed to read, write, list and delete",
        ),
        (
            GenericError(NO_CREDENTIALS),
            "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached",
        ),
        (
            GenericError(answered(501, "Not Implemented")),
            "the store lacks a call that this needs (501 Not Implemented: SomeCode: Some words.); use another store",
        ),
        (GenericError(REFUSED), "cannot be reached (Connection refused); check the network and the endpoint"),
        (FAULTS["hangs"](), "the store failed (no answer in time); run the same command again later"),
        (GenericError("Generic S3 error: what\nmore"), "the store refused a call (what)"),
    ],
    ids=range(9),
)
def test_the_user_reads_what_happened_and_what_to_do(error, reason):
    assert str(explain("s3://b/x", error, str)) == f"s3://b/x: {reason}"


def test_how_long_it_was_tried_is_said_from_a_second_on():
    assert "failed for 40 s (" in str(explain("s3://b", FAULTS["503"](), str, tried_s=40.2))
    assert "failed (" in str(explain("s3://b", FAULTS["503"](), str, tried_s=0.2))


def test_request_numbers_and_commands_to_a_runner_are_not_shown():
    text = answered(403, "Forbidden").replace("Some words.", "##[error]Failed.\nRequestId:12-34\nTime:2026")
    shown = str(explain("az://b", PermissionDeniedError(text), str))
    assert "RequestId" not in shown
    assert "##[error]" not in shown


def test_secrets_are_values_of_a_stores_variables():
    environ = {
        "AWS_SECRET_ACCESS_KEY": "longsecret",
        "AZURE_STORAGE_SAS_TOKEN": "sig=longersecret",
        "AWS_SESSION_TOKEN": "short",
        "AWS_REGION": "us-east-1",
        "OTHER_SECRET_KEY": "elsewhere",
    }
    assert secrets_in(environ) == ("sig=longersecret", "longsecret")
    assert without_secrets("a longsecret at https://h/p?sig=1&x=2 b", ("longsecret",)) == "a *** at https://h/p b"
