"""The view in the address: written, read back, and read with care."""

from __future__ import annotations

import pytest
import tiny

EVERYTHING = (
    "#sel=logit@3&open=L1H0@3,L1H0@3/L0MLP@0&share=0.9&rooted=0&hide=bias,embed&layers=0,2&heads=0,1&tokens=0,3"
    "&q=mlp%20%26%20co&pins=L0H1@1&groups=1:one%3B%20two:1:L0MLP@3,L1MLP@3;4:x:0:embed@0,embed@1&compact=1"
    "&view=0.4,0.6,1.5&theme=dark"
)


def document():
    graph = tiny.graph()
    # A kind of its own, so that more than one can be hidden.
    graph["nodes"][1] |= {"kind": "bias"}
    return graph


def test_the_whole_view_goes_round(explore):
    explorer = explore(document(), EVERYTHING)
    assert explorer.fragment() == EVERYTHING
    state = explorer.state
    assert state["groups"] == [
        {"key": 1, "name": "one; two", "members": ["L0MLP@3", "L1MLP@3"], "folded": True},
        {"key": 4, "name": "x", "members": ["embed@0", "embed@1"], "folded": False},
    ]
    assert state["query"] == "mlp & co"
    assert explorer.run("() => document.documentElement.dataset.theme") == "dark"
    again = explore(document(), explorer.fragment())
    assert again.state == state
    assert again.place("logit@3") == explorer.place("logit@3")
    assert again.shown() == explorer.shown()


def test_the_address_follows_by_itself(explore):
    explorer = explore(tiny.graph())
    explorer.click("L1H0@3")
    explorer.wait("location.hash === '#sel=L1H0@3'")
    explorer.press("Escape")
    explorer.wait("location.hash === ''")
    explorer.page.click("#theme")
    explorer.wait("location.hash === '#theme=light'")


def test_a_new_fragment_changes_the_view_and_can_be_undone(explore):
    explorer = explore(tiny.graph(), "#sel=logit@3")
    explorer.run("() => { location.hash = '#sel=L1H0@3&pins=embed@0&view=0.2,0.2,1.5&theme=dark'; }")
    explorer.wait("explorer.session.history.state.selected?.node === 'L1H0@3'")
    assert explorer.state["pins"] == ["embed@0"]
    assert explorer.run("() => explorer.session.camera.view") == {"x": 0.2, "y": 0.2, "zoom": 1.5}
    assert explorer.run("() => explorer.session.theme") == "dark"
    explorer.press("Control+z")
    assert explorer.selected == "logit@3"


@pytest.mark.parametrize(
    "fragment",
    [
        "#",
        "#sel=nowhere@9&open=nowhere@9&pins=nowhere@9&groups=1:a:1:nowhere@9",
        "#sel=%E0%A4%A&q=%&pins=%",
        "#share=NaN&layers=1&heads=x&tokens=99&view=1,2&theme=pink",
        "#groups=;;:;1;x:y:z:w;1:a&selgroup=7&open=a/b",
        "#&&&=&=1&sel&__proto__=1&constructor=2",
    ],
)
def test_spoiled_fragments_leave_the_opening_view(explore, fragment):
    explorer = explore(tiny.graph(), fragment)
    state = explorer.state
    assert state == explorer.run("() => explorer.session.opening")


def test_values_out_of_range_are_brought_in(explore):
    state = explore(tiny.graph(), "#share=7&layers=-9,99&view=9,-9,1e9").state
    assert state["share"] == 1
    assert state["layers"] == [-1, 2]


def test_reload_keeps_the_view(explore):
    explorer = explore(tiny.graph())
    explorer.click("L1H0@3")
    explorer.fragment()
    explorer.page.reload()
    assert explorer.selected == "L1H0@3"
