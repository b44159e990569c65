import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli.config_file import NAME, SettingsFile, files, is_trusted, of_project, of_user, read, remember
from venice_batch.errors import FolderError, UsageError


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path, monkeypatch):
    (tmp_path / "project/sub").mkdir(parents=True)
    (tmp_path / "project").chmod(0o755)
    monkeypatch.chdir(tmp_path / "project/sub")


def settings_file(text):
    return SettingsFile("f.toml", text, tomllib.loads(text))


def test_the_nearest_file_upwards_counts(tmp_path):
    project = tmp_path / "project"
    assert of_project(project / "sub", None) is None
    (project / NAME).write_text("")
    assert of_project(project / "sub", None) == project / NAME
    (project / "sub" / NAME).write_text("")
    assert str(of_project(project / "sub", None)) == NAME  # as people would write it


@pytest.mark.parametrize("end", ["repository", "home", "open to all"])
def test_the_search_ends_at_the_repository_at_home_and_before_a_folder_open_to_all(tmp_path, end):
    project = tmp_path / "project"
    (tmp_path / NAME).write_text("")
    assert of_project(project / "sub", None) == tmp_path / NAME
    if end == "repository":
        (project / ".git").mkdir()
    elif end == "open to all":
        tmp_path.chmod(0o1777)
    assert of_project(project / "sub", project if end == "home" else None) is None


def refused(environment=None):
    with pytest.raises(UsageError) as caught:
        files(environment=environment or {"XDG_CONFIG_HOME": "/nowhere"})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707])
def test_a_file_in_a_current_folder_that_is_open_to_all_is_refused(tmp_path, mode):
    folder = tmp_path / "project/sub"
    folder.chmod(mode)
    assert files(environment={"XDG_CONFIG_HOME": "/nowhere"}) == ()
    (folder / NAME).write_text("")
    assert refused() == (
        "venice-batch.toml: not obeyed, as everybody may write to its folder; give --config venice-batch.toml if these "
        "settings are yours, else --no-config"
    )
    assert files(NAME)[0].tables == {}
    assert files(None, True) == ()


def test_a_file_that_everybody_may_write_to_is_refused(tmp_path):
    path = tmp_path / "project" / NAME
    path.write_text("")
    path.chmod(0o666)
    assert refused().startswith(f"{path}: not obeyed, as everybody may write to it; ")
    path.chmod(0o664)
    assert [file.path for file in files(environment={"XDG_CONFIG_HOME": "/nowhere"})] == [path]


def test_a_file_of_another_user_is_refused_and_one_of_roots_is_not(tmp_path, monkeypatch):
    (tmp_path / "project/sub" / NAME).write_text("")
    mine = os.getuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    if mine:
        assert "as it belongs to another user" in refused()
    else:
        assert files(environment={"XDG_CONFIG_HOME": "/nowhere"})[0].is_project


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("is_link", [False, True])
def test_root_obeys_no_file_of_another_user_nor_his_link_to_one_of_roots(tmp_path, is_link):
    path = tmp_path / "project/sub" / NAME
    if is_link:
        (tmp_path / "roots.toml").write_text("")
        path.symlink_to(tmp_path / "roots.toml")
    else:
        path.write_text("")
    os.chown(path, 65534, 65534, follow_symlinks=False)
    assert "as it belongs to another user" in refused()


def test_only_the_file_found_beside_the_jobs_is_a_strangers(tmp_path):
    own = tmp_path / "config/venice-batch/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("")
    Path(NAME).write_text("")
    assert [file.is_project for file in files(environment={"XDG_CONFIG_HOME": str(tmp_path / "config")})] == [
        False,
        True,
    ]
    assert [file.is_project for file in files(NAME)] == [False]


def trusted(path, environment):
    return is_trusted(read(path, is_project=True), environment)


def test_consent_is_for_one_path_and_one_content(tmp_path):
    environment = {"XDG_STATE_HOME": str(tmp_path / "state")}
    one, other = tmp_path / "project" / NAME, tmp_path / "project/sub" / NAME
    for path in (one, other):
        path.write_text("[run]\nrpm = 1\n")
    remember(read(one), environment, trusted=True)
    assert trusted(one, environment)
    assert not trusted(other, environment)
    assert trusted(Path(f"../{NAME}"), environment)
    one.write_text("[run]\nrpm = 2\n")
    assert not trusted(one, environment)
    remember(read(one), environment, trusted=True)
    remember(read(other), environment, trusted=True)
    remember(read(one), environment, trusted=False)
    assert (trusted(one, environment), trusted(other, environment)) == (False, True)


def test_consents_are_the_users_alone(tmp_path, monkeypatch):
    environment = {"XDG_STATE_HOME": str(tmp_path / "state")}
    Path(NAME).write_text("")
    remember(read(Path(NAME)), environment, trusted=True)
    store = tmp_path / "state/venice-batch/trusted.json"
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700
    store.chmod(0o622)
    assert not trusted(Path(NAME), environment)
    store.chmod(0o600)
    assert trusted(Path(NAME), environment)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert not is_trusted(read(Path(NAME)), environment)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"a": 1}', b'"text"'])
def test_a_damaged_store_of_consents_holds_none_and_is_replaced(tmp_path, content):
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    (tmp_path / "venice-batch").mkdir()
    (tmp_path / "venice-batch/trusted.json").write_bytes(content)
    Path(NAME).write_text("")
    assert not trusted(Path(NAME), environment)
    remember(read(Path(NAME)), environment, trusted=True)
    assert trusted(Path(NAME), environment)


def test_consents_are_kept_in_the_home_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Path(NAME).write_text("")
    remember(read(Path(NAME)), {"XDG_STATE_HOME": "relative"}, trusted=True)
    assert (tmp_path / ".local/state/venice-batch/trusted.json").exists()
    assert trusted(Path(NAME), {})


def test_a_consent_that_cannot_be_kept_is_told(tmp_path, monkeypatch):
    Path(NAME).write_text("")
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be written: Not a directory"):
        remember(read(Path(NAME)), {"XDG_STATE_HOME": str(tmp_path / "file")}, trusted=True)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FolderError, match="No space left"):
        remember(read(Path(NAME)), {"XDG_STATE_HOME": str(tmp_path)}, trusted=True)
    assert os.listdir(tmp_path / "venice-batch") == []

    def homeless():
        raise RuntimeError

    monkeypatch.setattr("pathlib.Path.home", homeless)
    with pytest.raises(FolderError, match="set XDG_STATE_HOME"):
        remember(read(Path(NAME)), {}, trusted=True)
    assert not is_trusted(read(Path(NAME)), {})


def test_a_current_folder_that_is_gone_has_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "project/sub")
    (tmp_path / "project/sub").rmdir()
    assert files(environment={"XDG_CONFIG_HOME": "/nowhere"}) == ()
    assert of_project(tmp_path / "project/sub/below", None) is None


def test_the_users_own_file_is_where_the_specification_has_it(tmp_path, monkeypatch):
    own = tmp_path / "config/venice-batch/config.toml"
    assert of_user({"XDG_CONFIG_HOME": str(tmp_path / "config")}) is None
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert of_user({"XDG_CONFIG_HOME": str(tmp_path / "config")}) == own
    monkeypatch.setenv("HOME", str(tmp_path))
    assert of_user({"XDG_CONFIG_HOME": "relative"}) is None
    own.parent.parent.rename(tmp_path / ".config")
    assert of_user({}) == tmp_path / ".config/venice-batch/config.toml"


def test_a_user_without_a_home_has_no_file_of_his_own(monkeypatch):
    def homeless():
        raise RuntimeError

    monkeypatch.setattr("pathlib.Path.home", homeless)
    assert of_user({}) is None


def test_the_users_file_is_the_weaker_and_a_named_file_counts_alone(tmp_path):
    own = tmp_path / "config/venice-batch/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("")
    (tmp_path / "other.toml").write_text("")
    open(NAME, "w").close()
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert [str(file.path) for file in files(environment=environment)] == [str(own), NAME]
    assert [file.path for file in files(str(tmp_path / "other.toml"), environment=environment)] == [
        tmp_path / "other.toml"
    ]
    assert files(None, True, environment=environment) == ()
    with pytest.raises(UsageError, match="exclude each other"):
        files("x", True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a = \xff", "is not UTF-8 text"),
        (b"a = ", "is not valid TOML: Invalid value"),
        (b"a = " + b"9" * 5000, "is not valid TOML: Exceeds the limit"),
        (b"a = " + b"[" * 50_000 + b"]" * 50_000, "is not valid TOML: .*"),
        (None, "cannot be read: "),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path, content, told):
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=told) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_crlf_do_no_harm(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf[run]\r\nrpm = 3\r\n")
    file = read(tmp_path / "x.toml")
    assert file.tables == {"run": {"rpm": 3}}
    assert file.where(("run", "rpm")).endswith(":2")


TEXT = '''\
# a comment
top.dotted = 1

[run]
name = """
[not a table]
rpm = 1
"""
rpm = 3 # [run]
faults = [
  "500",
  # with a comment
]
inline = { a = 1, b = { c = 2 } }
[profile.nightly.run]
"quoted key" = "]"
[empty]
'''


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("top", "dotted"), 2), (("run",), 4), (("run", "name"), 5), (("run", "rpm"), 9), (("run", "faults"), 10),
        (("run", "inline", "a"), 14), (("run", "inline", "b", "c"), 14), (("profile", "nightly"), 15),
        (("profile", "nightly", "run", "quoted key"), 16), (("empty",), 17),
    ],
)  # fmt: skip
def test_every_value_has_the_line_on_which_it_begins(keys, line):
    assert settings_file(TEXT).where(keys) == f"f.toml:{line}"


def test_what_stands_nowhere_has_no_line():
    assert settings_file(TEXT).where(("run", "absent")) == "f.toml"


@given(
    st.lists(st.sampled_from(["", "# x = 1", "[t{}]", "k{} = [\n1,\n\n2]", "k{} = '''\nk = 1\n'''", "k{}.a = {{}}"]))
)
def test_lines_are_those_of_any_file(parts):
    text, expected, table, line = "", [], (), 1
    for number, part in enumerate(parts):
        statement = part.format(number)
        if statement.startswith("["):
            table = (f"t{number}",)
            expected.append((table, line))
        elif statement.startswith("k"):
            expected.append(((*table, f"k{number}"), line))
        text += statement + "\n"
        line += statement.count("\n") + 1
    file = settings_file(text)
    assert [file.where(keys) for keys, _ in expected] == [f"f.toml:{line}" for _, line in expected]
