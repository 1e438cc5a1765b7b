from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxreport.data.exclusions import Exclusions
from cxreport.data.files import first_file, inside, inside_or_count, needed_file, release_folder
from cxreport.errors import UserError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "a.png").touch()
    (tmp_path / "outside.png").touch()
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "root" / "within.png").symlink_to(tmp_path / "root" / "sub" / "a.png")
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    return tmp_path / "root"


@pytest.mark.parametrize(
    "name", ["sub/a.png", "sub/../within.png", "absent/b.png", "./sub/a.png", "sub\\a.png", "ü 1.png"]
)
def test_names_that_stay_inside(root, name):
    assert inside(root, name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png", "sub/../../outside.png", "/etc/hostname", "link.png", "out/outside.png", "",
        " ", "a\0b", "C:\\x.png", "..", "sub/../..", "..\\outside.png", "out/x/../../outside.png",
    ],
)  # fmt: skip
def test_names_that_leave(root, name):
    left_out = Exclusions()
    assert inside(root, name) is None
    assert inside_or_count(root, name, left_out) is None
    assert left_out.counts == {"image path leaves the folder": 1}


@pytest.fixture(scope="module")
def maze(tmp_path_factory):
    """A folder with ways out of it and around in it."""
    root = tmp_path_factory.mktemp("maze") / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "up").symlink_to("../..")
    (root / "sub" / "round").symlink_to("../sub/deep")
    (root / "loop").symlink_to("loop")
    return root


PARTS = st.sampled_from(["..", ".", "", "sub", "deep", "up", "round", "loop", "root", "a.png", "\\", "~"])


@given(parts=st.lists(PARTS, max_size=8))
@example(parts=["absent", "..", "loop"])
def test_no_way_leads_out(maze, parts):
    path = inside(maze, "/".join(parts))
    assert path is None or path.resolve().is_relative_to(maze.resolve())


def test_a_root_that_is_a_link_is_followed(root, tmp_path):
    (tmp_path / "alias").symlink_to(root)
    assert inside(tmp_path / "alias", "sub/a.png") == tmp_path / "alias" / "sub" / "a.png"


def test_files_of_a_release(root):
    assert first_file(root, "absent", "sub/a.png", "within.png") == root / "sub" / "a.png"
    assert first_file(root, "sub") is None
    assert needed_file(root, "sub/a.png", get="fetch it") == root / "sub" / "a.png"
    with pytest.raises(UserError, match=r"There is no file x.csv or y.csv in .*root; fetch them\."):
        needed_file(root, "x.csv", "y.csv", get="fetch them")
    with pytest.raises(UserError, match=r"There is no folder .*absent"):
        release_folder(root / "absent")
