"""What notebooks show: small, plain HTML in which tokens are only text."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest
from models import run

from recursive_dla import (
    AttributionGraph,
    Breakdown,
    attribution_graph,
    attribution_tree,
    break_down,
    direction_target,
    strongest_paths,
)
from recursive_dla.attribution.provenance import Token
from recursive_dla.output.tree_text import hidden_paths, outline

HOSTILE = ("</table><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&amp;", "\n", "\0", "\u202e", "'")


@cache
def graph() -> AttributionGraph:
    model, _, _, activations = run("gpt2")
    return attribution_graph(activations, model, 5, wrong_answers=17)


@cache
def breakdown(dest: str = "heads", prompts: int = 1) -> Breakdown:
    model, _, _, activations = run("gpt2", prompts=prompts)
    return break_down(activations, model, [5, 3], dest)


class Page(HTMLParser):
    """Checks that tags are few, plain and closed, and keeps the text and the tables' cells."""

    def __init__(self, html: str, more_tags: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags = {"div", "b", "span", "wbr", "table", "tr", "th", "td"} | more_tags
        self.text, self.titles, self.rows = "", [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.tags
        assert {name for name, _ in attrs} <= {"style", "title", "open"}
        self.titles += [value for name, value in attrs if name == "title"]
        if tag != "wbr":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_a_graph_shows_its_value_tokens_and_strongest_components() -> None:
    page = Page(graph()._repr_html_())
    meta, nodes = graph().metadata, graph().nodes
    assert f"{meta.target.label} at {meta.target.pos}: {meta.value:+.3f} logits".replace("-", "−") in page.text
    inside = nodes[nodes["kind"].isin(["head", "mlp"])]
    best = inside.loc[inside["attribution"].abs().idxmax()]
    assert page.rows[0] == ["component", "token", "attribution, logits"]
    assert page.rows[1][0] == best["id"].split("@")[0]
    assert page.rows[1][1].startswith(f"{best['pos']} ")
    assert page.rows[1][2] == f"{best['attribution']:+.3f}".replace("-", "−")
    assert len(page.titles) == len(meta.tokens)
    leaves = nodes[nodes["kind"].isin(["embed", "pos_embed", "bias"])].groupby("pos")["attribution"].sum()
    for pos, hint in enumerate(page.titles):
        assert f": {leaves[pos]:+.3f} logits".replace("-", "−") in str(hint)


@pytest.mark.parametrize("shown", ["graph", "breakdown"])
def test_numbers_are_blue_if_they_raise_and_red_if_they_lower(shown: str) -> None:
    html = {"graph": graph, "breakdown": breakdown}[shown]()._repr_html_()
    grounds = re.findall(r"background:rgba\((\d+),\d+,(\d+),\.25\)\">([+−])", html)
    assert {sign for *_, sign in grounds} == {"+", "−"}
    for red, blue, sign in grounds:
        assert (int(blue) > int(red)) == (sign == "+")


def test_the_tokens_grounds_tell_how_much_their_leaves_give() -> None:
    nodes, html = graph().nodes, graph()._repr_html_()
    leaves = nodes[nodes["kind"].isin(["embed", "pos_embed", "bias"])].groupby("pos")["attribution"].sum()
    found = re.findall(r"background:rgba\((\d+),\d+,(\d+),([\d.]+)\);padding:0 1px", html)
    for (red, blue, opacity), (_, share) in zip(found, leaves.items(), strict=True):
        assert (int(blue) > int(red)) == (share >= 0)
        assert float(opacity) == pytest.approx(0.6 * abs(share) / leaves.abs().max(), abs=0.006)


def test_a_pruned_graph_says_of_what() -> None:
    page = Page(graph().prune(max_edges=31)._repr_html_())
    assert f"pruned from {len(graph().nodes):,} nodes and {len(graph().edge_weight):,} edges; " in page.text


def test_a_breakdown_shows_each_answer_s_strongest_components() -> None:
    page = Page(breakdown()._repr_html_())
    assert page.text.count("prompt 0") == 2
    for token, rows in ((0, page.rows[1:7]), (1, page.rows[8:14])):
        strongest = breakdown().strongest(token, count=8)
        assert [row[0] for row in rows] == [found.label for found in strongest]
        assert [row[1] for row in rows] == [f"{found.total:+.3f}".replace("-", "−") for found in strongest]
        source, part = strongest[0].sources[0]
        pos = int(source["src_pos"])
        said = f"{part:+.3f} {source['src_comp']} at {pos} {breakdown().tokens[0][pos]}".replace(
            "-", "−", 1 if part < 0 else 0
        )
        assert rows[0][2].startswith(said)


def test_mlps_and_directions_show_too() -> None:
    assert "L2MLP" in Page(breakdown("mlps")._repr_html_()).text
    model, _, _, activations = run("gpt2")
    from recursive_dla.cache.activation_cache import as_cache

    cache = as_cache(activations, model)
    target = direction_target(cache, cache.weights.W_U[:, 3].detach(), labels=["probe"])
    for shown in (break_down(cache, model, target), attribution_graph(cache, model, target)):
        text = Page(shown._repr_html_()).text
        assert "probe" in text
        assert "logits" not in text


def test_tokens_are_only_text() -> None:
    meta = graph().metadata
    hostile = replace(
        graph(),
        metadata=replace(
            meta,
            tokens=tuple(Token(pos, None, text) for pos, text in enumerate(HOSTILE)),
            target=replace(meta.target, label=HOSTILE[0]),
            model=HOSTILE[1],
        ),
    )
    labelled = replace(breakdown(), tokens=(HOSTILE,), axes={**breakdown().axes, "token": (HOSTILE[0], HOSTILE[1])})
    for shown, plain in ((hostile, graph()), (labelled, breakdown())):
        html = shown._repr_html_()
        page = Page(html)
        assert HOSTILE[0] in page.text
        assert not re.search("[\0\u202e]", html)
        assert html.count("\n") == plain._repr_html_().count("\n")
    assert "⏎" in Page(hostile._repr_html_()).text


@pytest.mark.parametrize("text", ["x" * 5000, "<&>\"'" * 1000, "\u202e" * 3000], ids=["long", "escapes", "control"])
def test_it_stays_small(text: str) -> None:
    meta = graph().metadata
    tokens = tuple(Token(pos, None, text) for pos in range(5000))
    long = replace(graph(), metadata=replace(meta, tokens=tokens))
    html = long._repr_html_()
    assert len(html.encode()) < 100_000
    page = Page(html)
    assert "… 4,800 more tokens …" in page.text
    # The beginning and the end are there.
    assert [int(str(title).split(" ")[0]) for title in page.titles] == [*range(100), *range(4900, 5000)]
    many = replace(breakdown(prompts=11), tokens=((text,) * 7,) * 11)
    assert len(many._repr_html_().encode()) < 60_000
    assert "… and 18 more" in Page(many._repr_html_()).text


def test_ordinary_prompts_take_a_few_kilobytes() -> None:
    assert len(graph()._repr_html_().encode()) < 6_000
    assert len(breakdown()._repr_html_().encode()) < 10_000


def test_a_group_of_embeddings_gives_each_token_its_own() -> None:
    apart = graph()
    together = apart.group({"words": "embed"})
    assert Page(together._repr_html_()).titles == Page(apart._repr_html_()).titles
    assert "words" not in together._repr_html_()


def test_the_template_engine_is_loaded_when_something_is_shown() -> None:
    using = "import sys, recursive_dla.output.notebook\nassert 'jinja2' not in sys.modules"
    subprocess.run([sys.executable, "-c", using], check=True)


def test_a_tree_unfolds_to_its_strongest_nodes() -> None:
    model, _, _, activations = run("gpt2")
    tree = attribution_tree(activations, model, 5, wrong_answers=17)
    html = tree._repr_html_()
    page, lines = Page(html, frozenset({"details", "summary"})), outline(tree, 120)
    shown = [f"{line.weight:+.3f}".replace("-", "−") + f" {line.label}" for line in lines]
    assert [text for text in page.text.splitlines() if text][2:] == shown
    inner = {line.parent for line in lines}
    # The two levels that fit at a glance are open.
    opened = [len(line.last) < 2 for place, line in enumerate(lines) if place in inner]
    assert [found == " open" for found in re.findall(r"<details style=\"[^\"]*\"( open)?>", html)] == opened
    depth, depths = 0, []
    for tag in re.findall(r"<(/?details|div style=\"margin-left)", html):
        depths += [depth] if not tag.startswith("/") else []
        depth += {"details": 1, "/details": -1}.get(tag, 0)
    assert depths == [len(line.last) for line in lines]


def test_paths_show_what_they_leave() -> None:
    model, _, _, activations = run("gpt2")
    paths = strongest_paths(activations, model, 5, count=3, max_nodes=30)
    page = Page(paths._repr_html_())
    assert page.rows[0] == ["path", "weight, logits", "share"]
    assert [row[0] for row in page.rows[1:]] == [
        *paths.table["path"], "these paths", "weaker paths that were found", "not explored"
    ]  # fmt: skip
    assert page.rows[4][2] == f"{paths.explained / paths.total:+.0%}".replace("-", "−")
    assert hidden_paths(paths) in page.text


def test_a_difference_shows_what_changes() -> None:
    change = graph().compare(graph().prune(max_edges=31))
    page = Page(change._repr_html_())
    assert page.rows[0] == ["component", "a, logits", "b, logits", "b − a"]
    assert [row[0] for row in page.rows[1:]] == change.strongest(8)["name"].tolist()
    assert f"− ({graph().metadata.value:+.3f})".replace("-", "−") in page.text
