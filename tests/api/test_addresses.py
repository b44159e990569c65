import pytest

from venice_batch.api.addresses import check_base_url, proxy_for, without_userinfo
from venice_batch.errors import UsageError


@pytest.mark.parametrize(
    "address",
    ["api.venice.ai", "http://[::1", "http://localhost:99999", "http://a:b", "http://user@:80", "http://", "http://a b",
     "http://a..b", f"http://{'x' * 64}.com", "ftp://a"],
)  # fmt: skip
def test_text_that_is_not_an_address_is_refused(address):
    with pytest.raises(UsageError, match="http://"):
        check_base_url(address)


@pytest.mark.parametrize("address", ["http://bob:s3cret@host/v1", "https://bob@host/v1", "http://:s3cret@host/v1"])
def test_an_address_with_a_password_is_refused_without_being_shown(address):
    with pytest.raises(UsageError, match="must not contain a name or password") as caught:
        check_base_url(address)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "address", "is_direct"),
    [
        ("api.corp", "https://api.corp/v1", True), (".corp", "https://api.corp/v1", True),
        ("corp", "https://api.corp/v1", True), ("corp", "https://mycorp/v1", False),
        ("*", "https://api.corp/v1", True), ("x, API.corp ,y", "https://api.corp/v1", True),
        ("api.corp:8080", "https://api.corp:8080/v1", True), ("api.corp:8080", "https://api.corp/v1", False),
        (".corp:3128", "http://api.corp:3128/v1", True), (".corp:3128", "http://api.corp:3129/v1", False),
        ("api.corp:443", "https://api.corp/v1", True), ("10.1.2.3", "http://10.1.2.3/v1", True),
        ("10.0.0.0/8", "http://10.1.2.3/v1", True), ("10.0.0.0/8", "http://11.1.2.3/v1", False),
        ("fd00::/8", "http://[fd00::1]:80/v1", True), ("[fd00::1]:80", "http://[fd00::1]:80/v1", True),
        ("fd00::1", "http://[fd00::1]/v1", True), ("fd00::1", "http://[fd00::2]/v1", False),
        ("10.0.0.0/8, /, 1.2.3.4/99", "http://host/v1", False), ("", "http://host/v1", False),
    ],
)  # fmt: skip
def test_no_proxy_takes_names_domains_ports_and_networks(monkeypatch, entry, address, is_direct):
    monkeypatch.delenv("NO_PROXY", raising=False)
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://proxy.corp:3128")
    monkeypatch.setenv("no_proxy", entry)
    assert (proxy_for(address) is None) is is_direct


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://a:b@h/x", "http://***@h/x"),
        ("u:p w@h", "***@h"),
        ("http://h/x", "http://h/x"),
        ("http://a:b/c@d@h", "http://***@h"),
    ],
)
def test_names_and_passwords_of_addresses_are_not_shown(address, shown):
    assert without_userinfo(address) == shown


def test_a_proxys_name_and_password_are_kept_apart_from_its_address(monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("https_proxy", "http://bob:s3%20cret@proxy.corp:3128")
    found = proxy_for("https://api.corp/v1")
    assert (str(found.address), found.login) == ("http://proxy.corp:3128", ("bob", "s3 cret"))
