"""Outputs: shown in their best form, or replaced by a sentence; nothing vanishes."""

import nbformat.v4 as nbf
import pytest

from typeset.outputs import LONGEST, printable, terminal

CELL = "1_x.ipynb, cell 2"


def best(data, **metadata):
    output = nbf.new_output("display_data", data=data, metadata=metadata)
    found = printable([output], CELL, lambda content: content)
    return found[0].data if found else None


def streamed(text, name="stdout"):
    found = printable([nbf.new_output("stream", text=text, name=name)], CELL, None)
    return found[0].text if found else None


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("50%\r100%", "100%"),
        ("abc\rx", "xbc"),
        ("wheel -\b \bdone", "wheel done"),
        ("\bx\r\ny", "x\ny"),
        ("\x1b[31mred\x1b[0m bell\x07 nul\x00", "red bell nul"),
        ("\x1b]8;;http://e.org\x07link\x1b]8;;\x07", "link"),
        ("tab\tline\n", "tab\tline\n"),
    ],
)
def test_text_is_what_a_terminal_shows(written, seen):
    assert terminal(written) == seen


@pytest.mark.parametrize(
    ("bundle", "kind"),
    [
        (["text/plain", "text/html", "text/markdown"], "text/markdown"),
        (["text/plain", "text/html"], "text/html"),
        (["text/plain", "text/latex"], "text/markdown"),
        (["text/plain"], "text/plain"),
    ],
)
def test_the_best_form_is_shown(bundle, kind):
    assert best(dict.fromkeys(bundle, "x")) == {kind: "x"}


@pytest.mark.parametrize("more", [{}, {"text/plain": "<JSON object>"}])
def test_data_are_shown_as_they_are_written(more):
    assert best({"application/json": {"é": 1}} | more) == {
        "text/plain": '{\n  "é": 1\n}'
    }


@pytest.mark.parametrize("kind", ["svg+xml", "png", "jpeg"])
def test_a_picture_is_shown_by_its_file(kind):
    kind = f"image/{kind}"
    shown = best({"text/plain": "<Figure>", kind: "a_b.x"})
    assert shown == {"text/markdown": "![picture](<a_b.x>)"}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"application/vnd.plotly.v1+json": {}}, "application/vnd.plotly.v1+json"),
        ({"application/vnd.vegalite.v5+json": {}, "text/plain": "Chart"}, "vegalite"),
        ({"application/pdf": "…", "text/plain": "<Figure size>"}, "application/pdf"),
        ({"application/javascript": "f()", "text/plain": "<JS>"}, "javascript"),
        ({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "S()"}, "view"),
        ({"text/html": "<div><script>x</script></div>"}, "text/html with scripts"),
        ({"text/html": "<iframe src=x></iframe>", "text/plain": "IFrame"}, "scripts"),
        ({"image/gif": "…", "text/plain": "<Image>"}, "image/gif"),
    ],
)
def test_what_cannot_be_printed_is_said_to_be_left_out(data, kind, capsys):
    shown = best(data)["text/markdown"]
    assert kind in shown
    assert shown.endswith("cannot be printed and is left out.*")
    assert f"{CELL}: an output of type " in capsys.readouterr().err


def test_progress_bars_leave_nothing():
    bar = "train:  50%|█████     | 5/10 [00:01<00:01,  4.9it/s]"
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": bar}
    assert best(widget) is None
    assert streamed(f"\r{bar}\r{bar}\n", "stderr") is None
    assert streamed(f"{bar}\nUserWarning: x\n", "stderr") == "UserWarning: x\n"


def test_what_is_written_to_stderr_is_said_on_the_terminal(capsys):
    streamed("UserWarning: x\n", "stderr")
    assert capsys.readouterr().err == f"{CELL} wrote to stderr: UserWarning: x\n"


def test_long_text_is_cut_and_says_by_how_much():
    text = "\n".join(map(str, range(LONGEST + 50)))
    lines = streamed(text).split("\n")
    assert lines[LONGEST - 1 :] == [str(LONGEST - 1), "… 50 more lines are left out"]


def test_html_is_never_cut_where_a_line_ends():
    html = "<table>\n" + "<tr>\n<td>\n1</td>\n</tr>\n" * LONGEST + "</table>"
    assert best({"text/html": html}) == {"text/html": html}


def test_latex_is_read_as_markdown_with_its_formulas():
    assert best({"text/latex": "$x$"}) == {"text/markdown": "`78`{=math}"}


def test_what_is_handed_over_stands_before_the_text():
    shown = best({"text/markdown": "said $x$"}, verdict={"claim": "$y$"}, other=1)
    handed, said = shown["text/markdown"].split("\n~~~\n\n")
    assert handed == '~~~ verdict\n{"claim": "`79`{=math}"}'
    assert said == "said `78`{=math}"


@pytest.mark.parametrize("long", ["\x1b]", "\x1b[", "1", "1%", "a\b", "|1%"])
def test_no_output_is_read_again_from_each_of_its_beginnings(long):
    """A million characters: what is read again from each would never end."""
    found = streamed(long * (1_000_000 // len(long)))
    assert found is None or len(found) < LONGEST * 100


def test_a_long_line_is_cut_and_says_by_how_much():
    shown = streamed("a" * 20_000)
    assert shown == "a" * 17_600 + "\n… 2400 more characters are left out"


@pytest.mark.parametrize("rows", [201, 100_000])
def test_a_long_table_is_cut_below_its_head(rows):
    head = "<table><thead><tr><th>h</th></tr></thead><tbody>"
    shown = best(
        {"text/html": head + "<tr><td>1</td></tr>" * rows + "</tbody></table>"}
    )
    assert shown["text/html"].count("<td>") == LONGEST
    assert shown["text/html"].endswith(
        f"</tbody></table><p>… {rows - LONGEST} more rows are left out</p>"
    )


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("<table><tr>" + "<td>1</td>" * 10_000, "with 20002 elements"),
        ("<table><tr>" + "<td colspan='999999999'>1" * 20, "with 20022 elements"),
        ("<div>" * 101, "with 101 elements within one another"),
    ],
)
def test_html_that_no_page_holds_is_said_to_be_left_out(html, words):
    assert words in best({"text/html": html})["text/markdown"]


def test_a_cell_spans_as_many_columns_as_in_a_browser():
    shown = best({"text/html": "<td colspan=100000000 rowspan='2'>"})
    assert shown == {"text/html": "<td colspan=1000 rowspan='2'>"}
