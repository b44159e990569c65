"""Addresses of buckets, and what the environment says about their clients."""

import pytest

from venice_batch.bucket.address import BucketAddress, client_settings, is_bucket, parse
from venice_batch.errors import UsageError


def settings(scheme, tmp_path, **environ):
    return client_settings(scheme, {"HOME": str(tmp_path), **environ})


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("s3://pictures", BucketAddress("s3", "pictures")),
        ("S3://pictures/", BucketAddress("s3", "pictures")),
        ("az://pictures/night/1/", BucketAddress("az", "pictures", "night/1")),
        ("gs://pictures/Nächte 1", BucketAddress("gs", "pictures", "Nächte 1")),
    ],
)
def test_an_address_is_a_scheme_a_bucket_and_a_prefix(text, parsed):
    assert is_bucket(text)
    assert parse(text) == parsed


def test_paths_are_below_the_prefix():
    assert parse("s3://pictures").under("a/b") == "a/b"
    assert parse("s3://pictures/night").under("a/b") == "night/a/b"
    assert parse("s3://pictures/night").under("") == "night"
    assert str(parse("s3://pictures/night/")) == "s3://pictures/night"


@pytest.mark.parametrize(
    "text",
    ["s3://", "s3:///x", "s3://b/../x", "s3://b/./x", "s3://b/x//y", "s3://b?x", "http://b/x", "b/x", "s3://b/\x1b[1m"],
)
def test_what_is_no_address_is_refused_in_one_line(text):
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert "\n" not in str(refused.value)


def test_other_addresses_and_folders_are_no_buckets():
    assert not any(map(is_bucket, ["output", "s3", "s3:/b", "https://b/x", "file://b"]))


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(UsageError, match="holds no credentials") as refused:
        parse("s3://key:secret@bucket/x")
    assert "secret" not in str(refused.value)


def test_variables_become_settings_and_those_of_other_stores_do_not(tmp_path):
    found = settings(
        "s3", tmp_path, AWS_ACCESS_KEY_ID="a", AWS_REGION="eu-1", AWS_SESSION_TOKEN="", AZURE_CLIENT_ID="b"
    )
    assert found.config == {"aws_access_key_id": "a", "aws_region": "eu-1"}
    assert not found.allow_http
    assert "'a'" not in repr(found)


def test_the_endpoint_for_s3_alone_counts_first(tmp_path):
    found = settings("s3", tmp_path, AWS_ENDPOINT_URL="https://one", AWS_ENDPOINT_URL_S3="https://two")
    assert found.config["endpoint"] == "https://two"
    assert settings("gs", tmp_path, GOOGLE_BASE_URL="https://three").config["base_url"] == "https://three"


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"])
def test_a_server_on_this_machine_may_be_unencrypted(tmp_path, endpoint):
    assert settings("s3", tmp_path, AWS_ENDPOINT_URL=endpoint).allow_http


def test_another_server_may_be_unencrypted_only_if_a_variable_says_so(tmp_path):
    with pytest.raises(UsageError, match="is not encrypted; use https, or set AWS_ALLOW_HTTP=true"):
        settings("s3", tmp_path, AWS_ENDPOINT_URL="http://minio:9000")
    assert settings("s3", tmp_path, AWS_ENDPOINT_URL="http://minio:9000", AWS_ALLOW_HTTP="true").allow_http
    with pytest.raises(UsageError, match="minio:9000 is not an address"):
        settings("s3", tmp_path, AWS_ENDPOINT_URL="minio:9000")


def test_azure_needs_an_account(tmp_path):
    with pytest.raises(UsageError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        settings("az", tmp_path)
    assert settings("az", tmp_path, AZURE_STORAGE_USE_EMULATOR="true").allow_http


def test_a_connection_string_of_azure_gives_what_other_variables_do_not(tmp_path):
    text = "DefaultEndpointsProtocol=https;AccountName=one;AccountKey=a2V5==;BlobEndpoint=http://127.0.0.1:1/one;"
    found = settings("az", tmp_path, AZURE_STORAGE_CONNECTION_STRING=text, AZURE_STORAGE_ACCOUNT_KEY="b3RoZXI=")
    assert found.config == {
        "azure_storage_account_name": "one",
        "azure_storage_account_key": "b3RoZXI=",
        "endpoint": "http://127.0.0.1:1/one",
    }
    emulator = settings("az", tmp_path, AZURE_STORAGE_CONNECTION_STRING="UseDevelopmentStorage=true")
    assert emulator.config == {"azure_storage_use_emulator": "true"}
    with pytest.raises(UsageError, match="AZURE_STORAGE_CONNECTION_STRING"):
        settings("az", tmp_path, AZURE_STORAGE_CONNECTION_STRING="nonsense")


@pytest.fixture
def aws(tmp_path):
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = D\naws_secret_access_key = DS\n"
        "[night]\naws_access_key_id = N\naws_secret_access_key = NS\naws_session_token = NT\n"
    )
    (folder / "config").write_text(
        "[default]\nregion = eu-1\n[profile night]\nregion = eu-2\nendpoint_url = https://store\n"
        "[profile sso]\nsso_session = x\nregion = eu-3\n[profile broken]\nregion = eu-4\n"
    )
    return tmp_path


def test_the_default_profile_of_aws_is_read(aws):
    assert settings("s3", aws).config == {
        "aws_access_key_id": "D",
        "aws_secret_access_key": "DS",
        "aws_region": "eu-1",
    }


def test_a_profile_of_aws_gives_keys_region_and_endpoint(aws):
    assert settings("s3", aws, AWS_PROFILE="night").config == {
        "aws_access_key_id": "N",
        "aws_secret_access_key": "NS",
        "aws_session_token": "NT",
        "aws_region": "eu-2",
        "endpoint": "https://store",
    }


def test_variables_count_before_a_profile(aws):
    environ = {"AWS_ACCESS_KEY_ID": "V", "AWS_DEFAULT_REGION": "us-1", "AWS_ENDPOINT_URL": "https://other"}
    found = settings("s3", aws, AWS_PROFILE="night", **environ)
    assert found.config == {"aws_access_key_id": "V", "aws_default_region": "us-1", "endpoint": "https://other"}
    pod = settings("s3", aws, AWS_WEB_IDENTITY_TOKEN_FILE="/token", AWS_ROLE_ARN="r")
    assert "aws_access_key_id" not in pod.config


def test_files_of_aws_may_be_elsewhere(aws, tmp_path):
    (tmp_path / "mine").write_text("[default]\naws_access_key_id = M\n")
    found = settings("s3", aws, AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "mine"), AWS_CONFIG_FILE="/nonexistent")
    assert found.config == {"aws_access_key_id": "M"}


def test_a_profile_whose_keys_must_be_fetched_names_the_command_that_does(aws):
    with pytest.raises(UsageError, match=r"aws configure export-credentials --profile sso --format env"):
        settings("s3", aws, AWS_PROFILE="sso")
    assert settings("s3", aws, AWS_PROFILE="broken").config == {"aws_region": "eu-4"}


def test_a_profile_that_is_not_there_or_a_broken_file_is_reported(aws):
    with pytest.raises(UsageError, match="there is no profile day"):
        settings("s3", aws, AWS_PROFILE="day")
    assert "endpoint" not in settings("s3", aws, AWS_PROFILE="day", AWS_ACCESS_KEY_ID="V").config
    (aws / ".aws" / "config").write_text("no section\n")
    with pytest.raises(UsageError, match="cannot be read: MissingSectionHeaderError"):
        settings("s3", aws)
