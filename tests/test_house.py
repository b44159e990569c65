"""The figures of the code's size and shape."""

from tools.house import circles_in, main


def made(folder, **modules):
    """Make a package of modules with these lines."""
    folder.mkdir()
    for name, lines in modules.items():
        (folder / f"{name}.py").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_figures_are_those_of_the_folder_that_is_given(tmp_path, capsys):
    folder = made(tmp_path / "venice_batch", one=["import os", "x = 1"], two=["y = 2"] * 41)
    (folder / "sandbox/art").mkdir(parents=True)
    (folder / "sandbox/art/scene.py").write_text("z = 3\n")
    assert main([str(folder)]) == 0
    figures = dict(line.rsplit("  ", 1) for line in capsys.readouterr().out.splitlines())
    figures = {name.strip(): value.strip() for name, value in figures.items()}
    assert figures["files"] == "2, and 1 that draw"
    assert figures["lines"] == "43, and 1 that draw"
    assert figures["lines of imports"] == "1"
    assert figures["modules of at most 40 lines"] == "1"


def test_a_circle_through_an_import_inside_a_function_is_shown(tmp_path, capsys):
    folder = made(
        tmp_path / "venice_batch",
        one=["from venice_batch import two"],
        two=["def call():", "    from venice_batch.one import _hidden"],
    )
    main([str(folder)])
    assert "    venice_batch.one venice_batch.two\n" in capsys.readouterr().out


def test_a_private_name_of_another_package_is_shown(tmp_path, capsys):
    folder = made(tmp_path / "venice_batch", one=["x = 1"])
    made(folder / "api", key=["from venice_batch.one import _secret"])
    main([str(folder)])
    assert "    venice_batch.api.key takes venice_batch.one._secret\n" in capsys.readouterr().out


def test_modules_that_import_each_other_in_no_circle_are_not_shown():
    assert circles_in({"a": frozenset({"b", "c"}), "b": frozenset({"c"}), "c": frozenset()}) == []
