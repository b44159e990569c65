import base64
import io
import json
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest
from PIL import Image

from venice_batch.cli.main import main

GUIDE = {
    "model": "venice-sd35",
    "prompt": "A cinematic photo of a gondola passing through a narrow Venice canal at blue hour",
    "negative_prompt": "blurry, low quality, distorted anatomy, text, watermark",
    "width": 1024,
    "height": 1024,
    "format": "webp",
}


@pytest.fixture(scope="module")
def sandbox():
    """The address of `venice-batch sandbox` as a user starts it."""
    arguments = ["sandbox", "--port", "0", "--latency", "0"]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "venice_batch", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        yield next(word for word in line.split() if word.startswith("http://"))
        process.terminate()


def size_and_format(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size, image.format


@pytest.mark.parametrize("form", ["b64_json", "url"])
def test_the_official_openai_sdk_works_unchanged(sandbox, form):
    import openai  # takes a second

    with openai.OpenAI(base_url=sandbox, api_key="any") as client:
        answer = client.images.generate(
            model="qwen-image-2",
            prompt="A clean isometric illustration of an AI control room",
            size="1024x1024",
            response_format=form,
        )
    item = answer.data[0]
    text = item.b64_json if form == "b64_json" else item.url.removeprefix("data:image/png;base64,")
    assert size_and_format(base64.b64decode(text)) == ((1024, 1024), "PNG")


def test_the_guides_request_works_as_it_is_printed_there(sandbox):
    request = urllib.request.Request(
        sandbox + "/image/generate",
        data=json.dumps(GUIDE).encode(),
        headers={"Authorization": "Bearer any", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        data = json.load(answer)
    assert size_and_format(base64.b64decode(data["images"][0])) == ((1024, 1024), "WEBP")
    assert set(data["timing"]) == {"inferenceDuration", "inferencePreprocessingTime", "inferenceQueueTime", "total"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_guides_curl_command_saves_an_image(sandbox, tmp_path):
    body = {"model": "qwen-image-2", "prompt": "A moonlit Venetian bridge", "format": "png", "return_binary": True}
    command = ["curl", "-sS", sandbox + "/image/generate", "-H", "Authorization: Bearer any"]
    command += ["-H", "Content-Type: application/json", "-o", "output.png", "-d", json.dumps(body)]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert size_and_format((tmp_path / "output.png").read_bytes()) == ((1024, 1024), "PNG")


def test_the_command_runs_against_a_served_sandbox(sandbox, tmp_path, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "any")
    (tmp_path / "jobs.jsonl").write_text(json.dumps({**GUIDE, "id": "a"}) + "\n")
    arguments = [str(tmp_path / "jobs.jsonl"), "--base-url", sandbox, "-o", str(tmp_path / "out"), "-q"]
    assert main(arguments) == 0
    assert (tmp_path / "out" / "images" / "a.webp").exists()


@pytest.mark.cover_commands
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_ready_file_has_the_address_while_the_sandbox_serves(tmp_path, number):
    ready = tmp_path / "ready"
    ready.write_text("left by one that was killed")
    arguments = ["sandbox", "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "venice_batch", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        reported = process.stdout.readline()
        address = ready.read_text()
        assert f"sandbox at {address.rstrip()} " in reported
        with urllib.request.urlopen(f"{address.rstrip()}/models") as answer:
            assert answer.status == 200
        process.send_signal(number)
        assert process.wait(timeout=20) == 128 + number
    assert not ready.exists()


def test_a_ready_file_that_cannot_be_written_is_one_line(capsys):
    assert main(["sandbox", "--port", "0", "--ready-file", "/nowhere/ready"]) == 5
    assert capsys.readouterr().err == ("venice-batch: /nowhere/ready: cannot be written: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "loopback"),
        (["--fault-rate", "2"], "2 is not a number from 0 to 1"),
        (["--faults", "nonsense"], "nonsense"),
        (["--set", "capacity=many"], "capacity"),
    ],
)
def test_an_invalid_setting_of_the_sandbox_is_one_line(arguments, words, capsys):
    assert main(["sandbox", "--port", "0", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_ends_it_cleanly_with_the_code_of_every_command(number, code, tmp_path):
    arguments = [sys.executable, "-u", "-m", "venice_batch", "sandbox", "--port", "0", "--ready-file", "ready"]
    with subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(number)
        _, reported = process.communicate(timeout=60)
    assert (process.returncode, reported) == (code, b"")
    assert not (tmp_path / "ready").exists()
