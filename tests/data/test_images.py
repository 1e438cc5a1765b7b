from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cxreport.data.images import decode, inspect, read_image, view_of
from cxreport.data.pixels import MAX_PIXELS, stretched
from cxreport.errors import UserError
from cxreport.study import View


def pixels_of(view: View) -> np.ndarray:
    with Image.open(io.BytesIO(view.image)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (view.width, view.height))
        return np.array(image)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_grey_png_comes_through_unchanged(png, gradient):
    view = read_image(png)
    assert np.array_equal(pixels_of(view), gradient)
    assert (view.width, view.height, view.projection) == (64, 48, None)
    assert inspect(png).warnings == ()


def test_content_decides_not_the_name(tmp_path, gradient):
    path = tmp_path / "really_a_jpeg.png"
    Image.fromarray(gradient).save(path, "JPEG", quality=95)
    assert np.abs(pixels_of(read_image(path)).astype(int) - gradient).mean() < 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_modes_of_a_grey_picture(tmp_path, gradient, mode):
    path = tmp_path / "picture.png"
    Image.fromarray(gradient).convert(mode).save(path)
    assert np.array_equal(pixels_of(read_image(path)), gradient)


def test_palette_shows_the_colours_of_the_palette(tmp_path, gradient):
    indexed = Image.fromarray(gradient // 64, "P")
    indexed.putpalette([0, 0, 0, 40, 40, 40, 90, 90, 90, 250, 250, 250])
    path = tmp_path / "palette.png"
    indexed.save(path)
    assert np.array_equal(pixels_of(read_image(path)), np.array([0, 40, 90, 250])[gradient // 64])


def test_colour_becomes_luminance(tmp_path):
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0], colours[0, 1], colours[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(colours).save(tmp_path / "c.png")
    assert pixels_of(read_image(tmp_path / "c.png")).tolist() == [[76, 150], [29, 0]]


def test_transparent_is_black(tmp_path):
    picture = np.full((4, 4, 4), 200, np.uint8)
    picture[:, :2, 3], picture[:, 2:, 3] = 0, 255
    Image.fromarray(picture).save(tmp_path / "t.png")
    assert pixels_of(read_image(tmp_path / "t.png"))[0].tolist() == [0, 0, 200, 200]


@pytest.mark.parametrize(
    ("white", "values", "shown"),
    [
        (65535, [0, 257, 32768, 65535], [0, 1, 128, 255]),
        (4095, [0, 16, 2048, 4095], [0, 1, 128, 255]),
        (255, [0, 1, 128, 255], [0, 1, 128, 255]),
    ],
)
def test_sixteen_bits_use_the_scale_of_their_bits(tmp_path, white, values, shown):
    assert max(values) == white
    Image.fromarray(np.array([values], np.uint16)).save(tmp_path / "sixteen.png")
    assert pixels_of(read_image(tmp_path / "sixteen.png")).tolist() == [shown]


def test_exif_orientation_is_applied(tmp_path, gradient):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to show
    path = tmp_path / "turned.jpg"
    Image.fromarray(gradient).save(path, exif=exif, quality=100)
    shown = pixels_of(read_image(path))
    assert shown.shape == (64, 48)
    assert np.abs(shown.astype(int) - np.rot90(gradient, -1)).mean() < 2


def test_no_metadata_is_carried_on(tmp_path, gradient):
    info = PngImagePlugin.PngInfo()
    info.add_text("PatientName", "Doe^Jane")
    exif = Image.Exif()
    exif[0x010E] = "Doe^Jane"
    path = tmp_path / "named.png"
    Image.fromarray(gradient).save(path, pnginfo=info, exif=exif)
    assert b"Doe" in path.read_bytes()
    view = read_image(path)
    assert b"Doe" not in view.image
    kinds = {view.image[place - 4 : place] for place in (16,)} | {b"IDAT", b"IEND"}
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}
    with Image.open(io.BytesIO(view.image)) as image:
        assert image.info == {}


def test_max_side_keeps_the_aspect_ratio(png):
    view = read_image(png, max_side=32)
    assert (view.width, view.height) == (32, 24)
    assert read_image(png, max_side=500).width == 64


def test_truncated_png(png):
    png.write_bytes(png.read_bytes()[:-60])
    with pytest.raises(UserError, match=r"gradient\.png is damaged or truncated"):
        read_image(png)


def test_truncated_jpeg(tmp_path, gradient):
    path = tmp_path / "cut.jpg"
    Image.fromarray(gradient).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="damaged or truncated"):
        read_image(path)


@pytest.mark.parametrize("place", [20, 30, 45, 60])
def test_overwritten_bytes(png, place):
    content = bytearray(png.read_bytes())
    content[place : place + 6] = b"\xff" * 6
    png.write_bytes(content)
    with pytest.raises(UserError):
        read_image(png)


def test_files_that_are_no_images(tmp_path):
    cases = {"empty.png": (b"", "empty"), "text.png": (b"no image at all\n" * 20, "not a PNG, JPEG or DICOM")}
    cases["gif.png"] = (b"GIF89a" + b"\0" * 200, "not a PNG, JPEG or DICOM")
    cases["only_magic.png"] = (b"\x89PNG\r\n\x1a\n", "damaged or truncated")
    for name, (content, sentence) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            read_image(path)
    with pytest.raises(UserError, match="There is no file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(UserError, match="is not a file"):
        read_image(tmp_path)
    with pytest.raises(UserError, match="There is no file"):
        read_image("nul\0byte.png")


@pytest.mark.parametrize("side", [30_000, 9_500])
def test_a_huge_header_is_refused_undecoded(tmp_path, side, monkeypatch):
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("decoded"))
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(UserError, match=f"more than the {MAX_PIXELS // 10**6} million"):
        read_image(path)


def test_animated_png(tmp_path, gradient):
    frames = [Image.fromarray(gradient), Image.fromarray(255 - gradient)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="has 2 frames"):
        read_image(tmp_path / "moving.png")


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_one_single_grey(tmp_path, grey):
    Image.new("L", (20, 20), grey).save(tmp_path / "flat.png")
    with pytest.raises(UserError, match="one single grey"):
        read_image(tmp_path / "flat.png")


def test_stretched():
    assert stretched(np.array([[-5.0, 0.0, 1.0, 2.0, 9.0]]), 0, 2, "x").tolist() == [[0, 0, 128, 255, 255]]
    with pytest.raises(UserError, match="single grey"):
        stretched(np.zeros((2, 2)), 1, 1, "x")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_numbers(bad):
    with pytest.raises(UserError, match=r"scan\.dcm holds pixels that are not numbers"):
        stretched(np.array([[0.0, bad], [1.0, 2.0]]), 0, 1, "scan.dcm")


def test_decode_scales_without_keeping_the_aspect_ratio(gradient):
    shown = decode(view_of(gradient), 16)
    assert (shown.shape, shown.dtype) == ((16, 16), np.uint8)
    boxes = gradient.reshape(16, 3, 16, 4).mean(axis=(1, 3))
    assert np.abs(shown - boxes)[4:, 1:-1].max() < 6


def test_decode_antialiases():
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode(view_of(stripes), 32).astype(float) - 127.5).max() < 6


def test_decode_reads_jpeg_views_too(gradient):
    encoded = io.BytesIO()
    Image.fromarray(gradient).save(encoded, "JPEG", quality=95)
    shown = decode(View(encoded.getvalue(), 64, 48), 64)
    assert np.abs(shown.astype(int) - decode(view_of(gradient), 64)).mean() < 3


def test_decode_refuses_damage(gradient):
    view = view_of(gradient)
    for content in (b"", b"text", view.image[:-40], png_header(30_000, 30_000), png_header(9_500, 9_500)):
        with pytest.raises(UserError):
            decode(View(content, 64, 48), 16)


@pytest.mark.parametrize("name", ["2_1.png", "CXR54_IM-2145-1002.png"])
def test_real_pictures(shared, name):
    view = read_image(shared / "data" / "iu_xray" / "sample_images" / name, max_side=256)
    assert max(view.width, view.height) == 256
    assert 20 < pixels_of(view).mean() < 230
