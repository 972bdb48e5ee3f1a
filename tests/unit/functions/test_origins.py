from __future__ import annotations

from socket import gethostname

import pytest
from flask import Response

from functions.transport.origins import ForeignHost, ForeignOrigin, OriginPolicy

PAGE = "https://page.example"


def policy(hosts: str = "127.0.0.1", origins: str = "", nonce: str | None = None) -> OriginPolicy:
    return OriginPolicy(hosts.split(), origins.split(), nonce)


def request(method: str = "POST", host: str | None = "127.0.0.1:8888", **headers: str) -> dict[str, str]:
    named = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return {"REQUEST_METHOD": method, **({} if host is None else {"HTTP_HOST": host}), **named}


@pytest.mark.parametrize(
    "host",
    [None, "localhost", "LOCALHOST:8888", "localhost.", "jobs.localhost:80", "127.0.0.1", "127.9.9.9:1", "[::1]:8888"],
)
def test_names_of_the_loopback_interface_are_accepted(host: str | None) -> None:
    policy().check(request("GET", host))
    policy().check(request("POST", host))


@pytest.mark.parametrize(
    "host",
    [
        "rebound.evil.example",
        "rebound.evil.example:8888",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:8888, evil.example",
        "evil.example/127.0.0.1",
        "user@127.0.0.1",
        "192.0.2.1:8888",
        "[2001:db8::1]",
        "",
        ":8888",
        "[::1",
        "127.0.0.1:port",
        "127.0.0.1\n",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_hosts_are_rejected(host: str, method: str) -> None:
    with pytest.raises(ForeignHost, match="EXECUTOR_ALLOWED_HOSTS"):
        policy().check(request(method, host))


def test_named_hosts_are_accepted() -> None:
    for host in ("lab.example.org", "LAB.example.org:8888", "192.0.2.1", "[2001:db8::1]:8888"):
        policy("lab.example.org 192.0.2.1 2001:db8::1").check(request(host=host))
    policy("*").check(request(host="any.example"))


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_a_server_on_every_address_answers_for_addresses_and_for_the_name_of_its_machine(wildcard: str) -> None:
    for host in ("192.0.2.1:8888", "[2001:db8::1]", gethostname()):
        policy(wildcard).check(request(host=host))
    with pytest.raises(ForeignHost):
        policy(wildcard).check(request(host="rebound.evil.example"))


def test_only_a_request_with_the_nonce_may_have_any_host() -> None:
    """The blob API needs no nonce, so a page that rebinds its name could read all blobs."""
    policy(nonce="secret").check(request("GET", "any.example", x_executor_nonce="secret"))
    for headers in ({}, {"x_executor_nonce": "wrong"}):
        with pytest.raises(ForeignHost):
            policy(nonce="secret").check(request("GET", "any.example", **headers))


@pytest.mark.parametrize(
    "origin",
    [PAGE, "null", "http://localhost:3000", "http://127.0.0.1:8889", "https://127.0.0.1.evil.example", "http://["],
)
def test_pages_of_other_origins_can_change_nothing(origin: str) -> None:
    with pytest.raises(ForeignOrigin, match="EXECUTOR_ALLOWED_ORIGINS"):
        policy().check(request(origin=origin))
    with pytest.raises(ForeignOrigin):
        policy(nonce="secret").check(request(origin=origin))
    with pytest.raises(ForeignOrigin):
        policy(nonce="secret").check(request(origin=origin, x_executor_nonce="wrong"))
    policy().check(request("GET", origin=origin))


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browser_that_hides_the_origin_still_names_the_relation(site: str) -> None:
    with pytest.raises(ForeignOrigin):
        policy().check(request(sec_fetch_site=site))
    policy(origins="*").check(request(sec_fetch_site=site))


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_user_can_use_the_server_from_the_browser(site: str) -> None:
    policy().check(request(sec_fetch_site=site))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8888", "http://127.0.0.1:8888"),
        ("localhost", "http://localhost"),
        ("localhost:443", "https://localhost"),
        ("localhost", "https://localhost"),
    ],
)
def test_the_servers_own_pages_are_accepted(host: str, origin: str) -> None:
    policy().check(request(host=host, origin=origin))


def test_allowed_origins_and_holders_of_the_nonce_are_accepted() -> None:
    policy(origins=PAGE).check(request(origin=PAGE.upper()))
    policy(origins=f"{PAGE}/").check(request(origin=PAGE))
    policy(origins="*").check(request(origin="null"))
    policy(nonce="secret").check(request(origin="https://other.example", x_executor_nonce="secret"))


def test_only_allowed_origins_can_read_responses() -> None:
    def marked(origins: str, **headers: str) -> dict[str, str]:
        return dict(policy(origins=origins).mark(request("GET", **headers), Response()).headers)

    assert marked("*", origin=PAGE)["Access-Control-Allow-Origin"] == "*"
    named = marked(PAGE, origin=PAGE)
    assert (named["Access-Control-Allow-Origin"], named["Vary"]) == (PAGE, "Origin")
    for found in (marked(PAGE, origin="https://other.example"), marked(PAGE), marked("", origin=PAGE)):
        assert "Access-Control-Allow-Origin" not in found
        assert found["Cross-Origin-Resource-Policy"] == "same-origin"
