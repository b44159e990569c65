import os
import stat
from pathlib import Path

import pytest

from venice_batch.cli.config_file import NAME, files, is_trusted, of_project, of_user, read, remember
from venice_batch.errors import FolderError, UsageError


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path, monkeypatch):
    (tmp_path / "project/sub").mkdir(parents=True)
    (tmp_path / "project").chmod(0o755)
    monkeypatch.chdir(tmp_path / "project/sub")


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_the_nearest_file_upwards_counts(tmp_path):
    project = tmp_path / "project"
    assert of_project(project / "sub", None) is None
    (project / NAME).write_text("")
    assert of_project(project / "sub", None) == project / NAME
    (project / "sub" / NAME).write_text("")
    assert str(of_project(project / "sub", None)) == NAME  # as people would write it


def test_the_search_ends_at_the_root():
    assert of_project(Path("/"), Path("/home/nobody")) is None


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


def refused():
    with pytest.raises(UsageError) as caught:
        files()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707])
def test_a_file_in_a_current_folder_that_is_open_to_all_is_refused(tmp_path, mode):
    folder = tmp_path / "project/sub"
    folder.chmod(mode)
    assert files() == ()
    (folder / NAME).write_text("")
    assert refused() == (
        "venice-batch.toml: not used, because everybody may write to its folder; give --config venice-batch.toml if "
        "these settings are yours, else --no-config"
    )
    assert files(NAME)[0].tables == {}
    assert files(None, True) == ()


def test_a_file_that_everybody_may_write_to_is_refused(tmp_path):
    path = tmp_path / "project" / NAME
    path.write_text("")
    path.chmod(0o666)
    assert refused().startswith(f"{path}: not used, because everybody may write to it; ")
    path.chmod(0o664)
    assert [file.path for file in files()] == [path]


def test_a_file_of_another_user_is_refused_and_one_of_roots_is_not(tmp_path, monkeypatch):
    (tmp_path / "project/sub" / NAME).write_text("")
    mine = os.getuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    if mine:
        assert "because it belongs to another user" in refused()
    else:
        assert files()[0].is_project


def test_where_files_show_no_owners_and_no_modes_a_projects_file_is_read_and_consent_kept(tmp_path, state, monkeypatch):
    path = tmp_path / "project" / NAME
    path.write_text("")
    for writable in (path, path.parent):
        writable.chmod(0o777)  # as Windows shows all of them
    for name in ("geteuid", "fchmod"):
        monkeypatch.delattr(os, name)
    assert [file.path for file in files()] == [path]
    remember(read(path), trusted=True)
    (state / "venice-batch/trusted.json").chmod(0o666)
    assert is_trusted(read(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("is_link", [False, True])
def test_root_obeys_no_file_of_another_user_and_no_link_of_theirs(tmp_path, is_link):
    path = tmp_path / "project/sub" / NAME
    if is_link:
        (tmp_path / "roots.toml").write_text("")
        path.symlink_to(tmp_path / "roots.toml")
    else:
        path.write_text("")
    os.chown(path, 65534, 65534, follow_symlinks=False)
    assert "because it belongs to another user" in refused()


def test_only_the_file_found_beside_the_jobs_is_a_strangers(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "config/venice-batch/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("")
    Path(NAME).write_text("")
    assert [file.is_project for file in files()] == [False, True]
    assert [file.is_project for file in files(NAME)] == [False]


def trusted(path):
    return is_trusted(read(path, is_project=True))


@pytest.fixture
def homeless(monkeypatch):
    """Run as a user without a home, on request."""

    def be_homeless():
        def unknown(uid):
            raise KeyError(uid)

        for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("pwd.getpwuid", unknown)

    return be_homeless


def test_consent_is_for_one_path_and_one_content(tmp_path):
    one, other = tmp_path / "project" / NAME, tmp_path / "project/sub" / NAME
    for path in (one, other):
        path.write_text("[run]\nrpm = 1\n")
    remember(read(one), trusted=True)
    assert trusted(one)
    assert not trusted(other)
    assert trusted(Path(f"../{NAME}"))
    one.write_text("[run]\nrpm = 2\n")
    assert not trusted(one)
    remember(read(one), trusted=True)
    remember(read(other), trusted=True)
    remember(read(one), trusted=False)
    assert (trusted(one), trusted(other)) == (False, True)


def test_consents_are_the_users_alone(state, monkeypatch):
    Path(NAME).write_text("")
    remember(read(Path(NAME)), trusted=True)
    store = state / "venice-batch/trusted.json"
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700
    store.chmod(0o622)
    assert not trusted(Path(NAME))
    store.chmod(0o600)
    assert trusted(Path(NAME))
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert not is_trusted(read(Path(NAME)))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"a": 1}', b'"text"'])
def test_a_damaged_store_of_consents_holds_none_and_is_replaced(state, content):
    (state / "venice-batch").mkdir(parents=True)
    (state / "venice-batch/trusted.json").write_bytes(content)
    Path(NAME).write_text("")
    assert not trusted(Path(NAME))
    remember(read(Path(NAME)), trusted=True)
    assert trusted(Path(NAME))


def test_consents_are_kept_in_the_home_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    Path(NAME).write_text("")
    remember(read(Path(NAME)), trusted=True)
    assert (tmp_path / ".local/state/venice-batch/trusted.json").exists()
    monkeypatch.delenv("XDG_STATE_HOME")
    assert trusted(Path(NAME))


def test_a_consent_that_cannot_be_kept_is_an_error(tmp_path, state, monkeypatch, homeless):
    Path(NAME).write_text("")
    state.write_text("")
    with pytest.raises(FolderError, match="cannot be written: Not a directory"):
        remember(read(Path(NAME)), trusted=True)
    state.unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(FolderError, match="No space left"):
            remember(read(Path(NAME)), trusted=True)
    assert os.listdir(state / "venice-batch") == []
    homeless()
    with pytest.raises(FolderError, match="set XDG_STATE_HOME"):
        remember(read(Path(NAME)), trusted=True)
    assert not is_trusted(read(Path(NAME)))


def test_a_current_folder_that_is_gone_has_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "project/sub")
    (tmp_path / "project/sub").rmdir()
    assert files() == ()
    assert of_project(tmp_path / "project/sub/below", None) is None


def test_the_users_own_file_is_where_the_specification_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "config/venice-batch/config.toml"
    assert of_user() is None
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert of_user() == own
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert of_user() is None
    own.parent.parent.rename(tmp_path / ".config")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert of_user() == tmp_path / ".config/venice-batch/config.toml"


def test_a_user_without_a_home_has_no_file_of_their_own(homeless):
    homeless()
    assert of_user() is None
    assert files() == ()


def test_the_users_file_is_the_weaker_and_a_named_file_counts_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    own = tmp_path / "config/venice-batch/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("")
    (tmp_path / "other.toml").write_text("")
    open(NAME, "w").close()
    assert [str(file.path) for file in files()] == [str(own), NAME]
    assert [file.path for file in files(str(tmp_path / "other.toml"))] == [tmp_path / "other.toml"]
    assert files(None, True) == ()
    with pytest.raises(UsageError, match="exclude each other"):
        files("x", True)


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"a = \xff", "is not UTF-8 text"),
        (b"a = ", "is not valid TOML: Invalid value"),
        (b"a = " + b"9" * 5000, "is not valid TOML: Exceeds the limit"),
        (b"a = " + b"[" * 50_000 + b"]" * 50_000, "is not valid TOML: .*"),
        (b'a = "\\u0000"', "a value holds a NUL character"),
        (None, "cannot be read: "),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_in_one_line(tmp_path, content, reported):
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=reported) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_crlf_do_no_harm(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf[run]\r\nrpm = 3\r\n")
    file = read(tmp_path / "x.toml")
    assert file.tables == {"run": {"rpm": 3}}
