"""`limits`, through the command line, in this process."""

import json

import anyio.to_thread

from venice_batch.cli.main import main
from venice_batch.sandbox import SandboxSettings, serve


def test_limits_need_a_key(capsys):
    assert main(["limits", "--base-url", "http://127.0.0.1:9"]) == 2
    assert "no API key" in capsys.readouterr().err


async def test_limits_show_each_currency_and_whether_the_key_has_access(capsys, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "k")

    async def shown(**balances):
        async with serve(SandboxSettings(**balances)) as sandbox:
            assert await anyio.to_thread.run_sync(main, ["limits", "--base-url", sandbox.base_url]) == 0
        return capsys.readouterr().out

    out = await shown(balance_usd=1.5, diem=2.0, bundled_usd=0.25)
    assert out.startswith("balance: 1.5 USD, 2 DIEM, 0.25 BUNDLED_CREDITS; tier: paid")
    assert "access" not in out
    refused = "the key has no access (accessPermitted is false): the API refuses requests that cost money\n"
    assert refused in await shown(balance_usd=0)


def test_limits_show_balance_and_quotas(capsys):
    assert main(["limits", "--sandbox"]) == 0
    out = capsys.readouterr().out
    assert "balance: 100 USD" in out
    assert "venice-sd35" in out
    assert main(["limits", "--sandbox", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quotas"]["venice-sd35"]["rpm"] == 20
