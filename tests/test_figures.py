"""Figures: the frames hold the package's own numbers, and what is drawn is the frame, named without doubt."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from models import POSITIONS, TWO_MODELS, VOCAB, available, boot, demo_run, hugging_face, run, run_on

from recursive_dla import (
    ActivationCache,
    AttributionGraph,
    AttributionTree,
    Breakdown,
    InputError,
    attribution_graph,
    attribution_tree,
    break_down,
)
from recursive_dla.attribution.labels import token_labels, visible
from recursive_dla.attribution.provenance import Token
from recursive_dla.figures import (
    attention_figure,
    attention_frame,
    components_figure,
    components_frame,
    graph_figure,
    graph_frame,
    head_sources_figure,
    head_sources_frame,
    heads_figure,
    heads_frame,
    logit_lens_figure,
    logit_lens_frame,
    sankey_figure,
    sankey_frame,
    tree_figure,
)
from recursive_dla.output.figures.plot_parts import token_axis
from recursive_dla.output.places import edge_curves, node_places
from recursive_dla.output.style import THEMES

THEME_NAMES = tuple(THEMES)
HOSTILE = ("<b>x</b>", "$y$", "&lt;", "\n", "\0", "\u202e", "%{z}")


@cache
def breakdown(name: str = "gpt2", dest: str = "heads", prompts: int = 1) -> Breakdown:
    model, _, _, activations = run(name, prompts=prompts)
    return break_down(activations, model, [5, 3], dest, wrong_answers=17)


@cache
def graph(dtype: torch.dtype = torch.float64) -> AttributionGraph:
    model, _, _, activations = run("gpt2", dtype)
    return attribution_graph(activations, model, 5, wrong_answers=17)


@cache
def tree() -> AttributionTree:
    model, _, _, activations = run("gpt2")
    return attribution_tree(activations, model, 5, wrong_answers=17, max_nodes=60)


@cache
def own_cache(name: str = "gpt2", prompts: int = 1) -> ActivationCache:
    model, _, _, activations = run(name, prompts=prompts)
    return ActivationCache(activations.cache_dict, model)


@cache
def every_figure(theme: Any = "light") -> dict[str, Any]:
    return {
        "heads": heads_figure(breakdown(), theme=theme),
        "head_sources": head_sources_figure(breakdown(), 2, 1, theme=theme),
        "components": components_figure(breakdown(), breakdown(dest="mlps"), theme=theme),
        "graph": graph_figure(graph(), theme=theme),
        "sankey": sankey_figure(graph(), theme=theme),
        "lens": logit_lens_figure(own_cache(), 5, theme=theme),
        "lens_top": logit_lens_figure(own_cache(), theme=theme),
        "attention": attention_figure(own_cache(), 1, 1, theme=theme),
        "tree": tree_figure(tree(), theme=theme),
    }


# --- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("token", "prompt"), [(0, 0), (1, 2), (-1, -1)])
def test_heads_by_token_are_the_breakdown_summed_over_components(token: int, prompt: int) -> None:
    found = breakdown(prompts=3)
    frame = heads_frame(found, top=None, token=token, prompt=prompt)
    values = found.values[token, prompt]
    assert list(frame.index) == [f"L{layer}H{head}" for layer in range(3) for head in range(2)]
    assert list(frame.columns) == token_labels(found.tokens[prompt])
    for layer in range(3):
        for head in range(2):
            np.testing.assert_allclose(frame.loc[f"L{layer}H{head}"], values[layer, head].sum(-1).numpy(), rtol=1e-12)
    assert heads_figure(found, top=None, token=token, prompt=prompt).data[0].z.tolist() == frame.to_numpy().tolist()


def test_the_heads_that_stay_are_the_largest_in_their_order() -> None:
    everything = heads_frame(breakdown(), top=None)
    kept = heads_frame(breakdown(), top=4)
    sizes = everything.abs().sum(axis=1)
    assert set(kept.index) == set(sizes.nlargest(4).index)
    assert list(kept.index) == [name for name in everything.index if name in kept.index]
    pd.testing.assert_frame_equal(kept, everything.loc[kept.index])


@pytest.mark.parametrize("layer", [1, -2])
def test_a_head_s_sources_are_its_slice_of_the_breakdown(layer: int) -> None:
    found = breakdown()
    frame = head_sources_frame(found, layer, 1, top=None, token=1)
    # Of a model with learned positions: two embeddings, and layer 0's attention and MLP.
    assert list(frame.index) == ["embed", "pos_embed", "0_attn_out", "0_mlp_out"]
    np.testing.assert_allclose(frame.to_numpy(), found.values[1, 0, 1, 1].mT.numpy()[:4], rtol=1e-12)
    drawn = head_sources_figure(found, layer, 1, top=None, token=1)
    assert drawn.data[0].z.tolist() == frame.to_numpy().tolist()
    assert drawn.layout.title.text.startswith("L1H1 on ")


def test_the_components_are_the_totals_by_size() -> None:
    heads, mlps = breakdown(), breakdown(dest="mlps")
    frame = components_frame(heads, mlps, top=100, token=1)
    totals = {f"L{layer}H{head}": float(heads.totals[1, 0, layer, head]) for layer in range(3) for head in range(2)}
    totals |= {f"L{layer}MLP": float(mlps.totals[1, 0, layer]) for layer in range(3)}
    assert dict(zip(frame["component"], frame["total"], strict=True)) == totals
    assert frame["total"].abs().is_monotonic_decreasing
    head = frame[frame["component"] == "L2H1"].iloc[0]
    part, comp, label = re.match(r"([+−][\d.]+) (\S+) at ([^;]+)", head["sources"]).groups()  # type: ignore[union-attr]
    sources = head_sources_frame(heads, 2, 1, top=None, token=1)
    assert sources.loc[comp, label] == pytest.approx(float(part.replace("−", "-")), abs=1e-3)
    assert abs(sources.loc[comp, label]) == sources.abs().to_numpy().max()
    bars = components_figure(heads, mlps, top=5, token=1).data[0]
    assert list(bars.x) == frame["total"].tolist()[:5]
    light = THEMES["light"]
    assert list(bars.marker.color) == [light.raises if total >= 0 else light.lowers for total in bars.x]


def test_the_graph_s_frame_is_its_strongest_edges() -> None:
    frame = graph_frame(graph(), max_edges=31)
    pruned = graph().prune(max_edges=31)
    expected = pruned.edges.astype({"source": str, "target": str}).set_index(["source", "target"])["weight"]
    assert frame.set_index(["source", "target"])["weight"].to_dict() == expected.to_dict()
    assert frame["weight"].abs().is_monotonic_decreasing
    assert (frame["source_token"].str.split(" ").str[0] == frame["source"].str.split("@").str[1]).all()
    pd.testing.assert_frame_equal(sankey_frame(graph(), max_edges=31), frame)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_sankey_draws_every_edge_by_size_and_sign(dtype: torch.dtype) -> None:
    links = sankey_figure(graph(dtype), max_edges=31).data[0].link
    pruned = graph(dtype).prune(max_edges=31)
    assert list(links.value) == np.abs(pruned.edge_weight).tolist()
    blue = [color.startswith("rgba(33,102,172") for color in links.color]
    assert blue == (pruned.edge_weight >= 0).tolist()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_graph_figure_draws_every_edge_once_with_its_sign(dtype: torch.dtype) -> None:
    *lines, names, nodes = graph_figure(graph(dtype), max_edges=31).data
    pruned = graph(dtype).prune(max_edges=31)
    drawn = {line.line.color: 0 for line in lines}
    for line in lines:
        drawn[line.line.color] += np.isnan(np.asarray(line.x, dtype=float)).sum()
    assert drawn[THEMES["light"].raises] == (pruned.edge_weight >= 0).sum()
    assert drawn[THEMES["light"].lowers] == (pruned.edge_weight < 0).sum()
    assert len(names.text) == len(pruned.edge_weight)
    assert len(nodes.text) == len(pruned.nodes)
    assert graph().figure(max_edges=31, theme="light").to_json() == graph_figure(graph(), max_edges=31).to_json()


def test_the_graph_figure_colours_edges_by_sign_and_widens_them_by_size() -> None:
    pruned = graph().prune(max_edges=31)
    figure = graph_figure(graph(), max_edges=31)
    axis = token_axis([token.text for token in pruned.metadata.tokens])
    x, y = edge_curves(pruned, node_places(pruned, axis.length / len(pruned.metadata.tokens)))
    steps = x.shape[1]
    drawn: dict[tuple[float, ...], tuple[str, float]] = {}
    for line in figure.data[:-2]:
        along, up = (np.asarray(values, dtype=float).reshape(-1, steps + 1)[:, :-1] for values in (line.x, line.y))
        for ends in np.stack([along[:, 0], up[:, 0], along[:, -1], up[:, -1]], axis=1).round(6).tolist():
            drawn[tuple(ends)] = line.line.color, line.line.width
    ends = np.stack([x[:, 0], y[:, 0], x[:, -1], y[:, -1]], axis=1).round(6).tolist()
    found = [drawn[tuple(end)] for end in ends]
    light = THEMES["light"]
    assert [color for color, _ in found] == [
        light.raises if weight >= 0 else light.lowers for weight in pruned.edge_weight
    ]
    widths = np.array([width for _, width in found])[np.argsort(-np.abs(pruned.edge_weight))]
    assert (np.diff(widths) <= 0).all()
    assert widths[0] > 2 * widths[-1]
    *_, nodes = figure.data
    assert list(nodes.marker.color) == [
        light.raises if attribution >= 0 else light.lowers for attribution in pruned.nodes["attribution"]
    ]


@pytest.mark.parametrize("column", [13.0, 66.0])
def test_no_node_of_the_graph_figure_lies_on_another(column: float) -> None:
    places = node_places(graph(), column)
    apart = np.hypot(*(at[:, None] - at for at in (places.x, places.y)))
    least = (places.size[:, None] + places.size) / 2
    assert (apart >= least)[~np.eye(len(least), dtype=bool)].all()
    # Each stays in its own token's column and its own layer's row.
    pos, row = graph().nodes["pos"].to_numpy(), graph().nodes["layer"].to_numpy() + 1
    for at, place, middles, whole in (
        (places.x, pos, places.columns, places.width),
        (places.y, row, places.rows, places.height),
    ):
        low, high = at - places.size / 2, at + places.size / 2
        assert low.min() >= 0
        assert high.max() <= whole
        for boundary in range(1, len(middles)):
            left = place < boundary
            assert high[left].max() <= low[~left].min()
    assert (np.diff(places.columns) >= column).all()


def test_edges_of_the_graph_figure_run_upwards_from_source_to_target() -> None:
    places = node_places(graph(), 40.0)
    x, y = edge_curves(graph(), places)
    for along, at in ((x, places.x), (y, places.y)):
        np.testing.assert_allclose(along[:, 0], at[graph().edge_source])
        np.testing.assert_allclose(along[:, -1], at[graph().edge_target])
    assert (np.diff(y) > 0).all()
    # Within a column they pass the nodes between on the right; far apart they turn half way.
    aside = x[:, x.shape[1] // 2] - (x[:, 0] + x[:, -1]) / 2
    width, height = np.abs(x[:, -1] - x[:, 0]), y[:, -1] - y[:, 0]
    upright, far = width < 0.1 * height, width > 0.5 * height
    assert upright.any()
    assert (aside[upright] > 1).all()
    assert far.any()
    assert np.abs(aside[far]).max() < 1e-6


@pytest.mark.parametrize("name", [*TWO_MODELS, *available("gemma2")])
def test_the_lens_ends_in_the_model_s_own_prediction(name: str) -> None:
    model, _, logits, _ = run(name, prompts=2)
    frame = logit_lens_frame(own_cache(name, 2), 5, prompt=1)
    last = frame[frame["point"] == "final_post"]
    own = logits[1].double()
    np.testing.assert_allclose(last["probability"], own.softmax(-1)[:, 5], rtol=1e-5)
    np.testing.assert_allclose(last["logit"], own[:, 5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last["top_probability"], own.softmax(-1).max(-1).values, rtol=1e-5)
    ranks = [row.argsort(descending=True).tolist().index(5) + 1 for row in own]
    assert last["rank"].tolist() == ranks
    assert last["top_token"].tolist() == [model.tokenizer.decode([int(i)]) for i in own.argmax(-1)]


def test_the_lens_reads_every_point_through_the_model_s_own_modules() -> None:
    model, _, _, activations = run("gpt2")
    frame = logit_lens_frame(own_cache(), 5, pos_slice=(2, 5))
    assert list(dict.fromkeys(frame["point"])) == ["0_pre", "1_pre", "2_pre", "final_post"]
    with torch.no_grad():
        for layer in range(3):
            logits = model.unembed(model.ln_final(activations["resid_pre", layer]))[0, 2:5]
            rows = frame[frame["point"] == f"{layer}_pre"]
            assert rows["pos"].tolist() == [2, 3, 4]
            np.testing.assert_allclose(rows["probability"], logits.softmax(-1)[:, 5], rtol=1e-8)
    shown = logit_lens_figure(own_cache(), 5, pos_slice=(2, 5), show="probability").data[0]
    np.testing.assert_allclose(shown.z.flatten(), frame["probability"])
    ranked = logit_lens_figure(own_cache(), 5, pos_slice=(2, 5)).data[0]
    np.testing.assert_allclose(10 ** ranked.z.flatten(), frame["rank"])


@pytest.mark.parametrize("name", [*TWO_MODELS, *available("gemma2"), "native-no-norms"])
def test_attention_is_the_cached_pattern_and_its_twin_weighs_the_cached_values(name: str) -> None:
    activations = run(name, prompts=2).cache
    weights = own_cache(name).weights
    heads, kv = weights.n_heads, len(weights.layers[1].attention.W_V)
    for head in range(heads):
        pattern = activations["pattern", 1][1, head]
        assert (
            attention_frame(own_cache(name, 2), -weights.n_layers + 1, head, prompt=1).to_numpy().tolist()
            == pattern.tolist()
        )
        value = activations["v", 1][1, :, head // (heads // kv)]
        expected = pattern * (value @ weights.layers[1].attention.W_O[head]).norm(dim=-1)
        weighted = attention_frame(own_cache(name, 2), 1, head, value_weighted=True, prompt=1)
        np.testing.assert_allclose(weighted, expected, rtol=1e-6, atol=1e-9)
    plain, twin = attention_figure(own_cache(name, 2), 1, heads - 1, prompt=1).data
    below = np.tril_indices(POSITIONS)
    assert plain.z[below].tolist() == pattern.numpy()[below].tolist()
    np.testing.assert_allclose(twin.z[below], weighted.to_numpy()[below])
    assert np.isnan(plain.z[np.triu_indices(POSITIONS, 1)]).all()


def test_other_caches_that_know_their_model_will_do() -> None:
    theirs = run("gpt2").cache
    pd.testing.assert_frame_equal(attention_frame(theirs, 1, 1), attention_frame(own_cache(), 1, 1))
    pd.testing.assert_frame_equal(logit_lens_frame(theirs, 5), logit_lens_frame(own_cache(), 5))


# --- how they look ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEME_NAMES)
@pytest.mark.parametrize("name", ["heads", "head_sources"])
def test_signed_colours_are_centred_on_zero(name: str, theme: str) -> None:
    heatmap = every_figure(theme)[name].data[0]
    assert heatmap.zmid == 0
    assert heatmap.zmax == -heatmap.zmin == np.abs(heatmap.z).max() > 0
    assert [place for place, _ in heatmap.colorscale] == pytest.approx([1 - p for p, _ in heatmap.colorscale[::-1]])


def luminance(color: str) -> float:
    """As WCAG 2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", THEME_NAMES)
def test_text_and_lines_stand_out_from_the_ground(name: str) -> None:
    theme = THEMES[name]
    for color, least in ((theme.text, 7), (theme.faint, 4.5), (theme.raises, 3), (theme.lowers, 3)):
        low, high = sorted((luminance(color), luminance(theme.paper)))
        assert (high + 0.05) / (low + 0.05) >= least


def test_light_and_dark_differ_in_template_and_ground() -> None:
    for light, dark in zip(every_figure("light").values(), every_figure("dark").values(), strict=True):
        assert light.layout.paper_bgcolor == "#ffffff"
        assert dark.layout.paper_bgcolor == THEMES["dark"].paper
        assert light.layout.template != dark.layout.template
        assert light.layout.title.text == dark.layout.title.text.replace(THEMES["dark"].faint, THEMES["light"].faint)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            # Not for people: the template that is filled in, and the theme's own.
            if key not in ("hovertemplate", "template", "texttemplate"):
                yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


OURS = re.compile(r"</?b>|<br>|<span style='[^'<>]*'>|</span>|&lt;|&gt;|&amp;|&#36;")


def hostile_cache() -> ActivationCache:
    """Of a model whose tokens are hostile, and of a prompt of each of them."""
    others = (f"{HOSTILE[number % len(HOSTILE)]}{number}" for number in range(VOCAB - 1 - len(HOSTILE)))
    model = boot(hugging_face("gpt2"), "gpt2", words=(*HOSTILE, *others))
    prompt = torch.arange(1, 1 + len(HOSTILE))[None]
    return ActivationCache(run_on(model, prompt).cache.cache_dict, model)


def test_tokens_are_never_read_as_markup_and_control_characters_show() -> None:
    found = replace(breakdown(), tokens=(HOSTILE,))
    told: dict[str, Any] = {
        "tokens": tuple(Token(pos, None, text) for pos, text in enumerate(HOSTILE)),
        "target": replace(graph().metadata.target, label="<i>$x$\n"),
        "model": "<u>",
    }
    hostile = replace(graph(), metadata=replace(graph().metadata, **told))
    cache = hostile_cache()
    figures = [
        heads_figure(found),
        head_sources_figure(found, 2, 1),
        components_figure(found),
        graph_figure(hostile, max_edges=400),
        sankey_figure(hostile, max_edges=400),
        logit_lens_figure(cache, 5),
        logit_lens_figure(cache),
        attention_figure(cache, 1, 1),
        tree_figure(AttributionTree(tree().nodes, replace(tree().metadata, **told))),
    ]
    for figure in figures:
        shown = list(strings(json.loads(figure.to_json())))
        assert any("&lt;b&gt;x&lt;/b&gt;" in text for text in shown)
        for text in shown:
            # A token's own <b> would be inside a pair of ours or unpaired; ours is only around names.
            assert "<b>x" not in text
            left = OURS.sub("", text)
            assert not set("<>&$\n\0\u202e") & set(left), text


@pytest.mark.parametrize("n", [1, 15, 20, 21, 60, 200, 2000])
def test_tokens_of_any_prompt_have_labels_that_fit_and_differ(n: int) -> None:
    axis = token_axis([" a-very-long-token" if pos % 2 else " John" for pos in range(n)])
    labels, places = axis.settings["ticktext"], axis.settings["tickvals"]
    assert len(set(labels)) == len(labels) == len(places)
    assert axis.length <= 3200
    # Turned labels need their height apart, those along the axis their width.
    apart = axis.length / n * (places[1] - places[0] if len(places) > 1 else n)
    assert apart >= (13 if n > 20 else 60) - 1e-9
    if n <= 200:
        assert places == list(range(n))
    assert axis.settings["tickangle"] == (0 if n <= 20 else 90)


@pytest.mark.parametrize("drawn", [heads_figure, lambda found: head_sources_figure(found, 2, 1)])
def test_tokens_stand_along_the_axis_in_their_order(drawn: Callable[[Breakdown], Any]) -> None:
    figure = drawn(replace(breakdown(), tokens=(tuple(f" t{pos}" for pos in range(POSITIONS)),)))
    assert list(figure.layout.xaxis.ticktext) == [f"·t{pos}<br>{pos}" for pos in range(POSITIONS)]
    assert list(figure.layout.xaxis.tickvals) == list(range(POSITIONS))
    assert figure.layout.xaxis.range[0] < figure.layout.xaxis.range[1]


def test_long_tokens_are_cut_on_axes_and_whole_in_hover_text() -> None:
    long = " unbelievably-long-token"
    found = replace(breakdown(), tokens=((long,) * POSITIONS,))
    figure = heads_figure(found)
    assert figure.layout.xaxis.ticktext[3] == "·unbelie…<br>3"
    assert figure.data[0].customdata[0, 3].tolist() == ["L0H0", f"3 {visible(long)}"]


def test_hover_text_names_component_token_and_number() -> None:
    figures = every_figure()
    assert figures["heads"].data[0].customdata[0, 0].tolist()[0].startswith("L")
    assert "%{z:+.4f} logits" in figures["heads"].data[0].hovertemplate
    assert re.match(r"<b>L\dH\d</b> [+−]\d\.\d{4} logits, of which<br>", figures["components"].data[0].hovertext[0])
    assert re.search(
        r"<b>\S+@\d</b> \d .*<br>→ <b>\S+@\d</b> \d .*<br>[+−]\d+\.\d{4} logits", figures["graph"].data[-2].text[0]
    )
    assert re.match(r"<b>\S+@\d</b> \d .*<br>[+−]\d+\.\d{4} logits$", figures["graph"].data[-1].text[0])
    assert re.search(r"→ <b>\S+@\d</b> \d .*[+−]\d+\.\d{4} logits", figures["sankey"].data[0].link.customdata[0])
    assert re.search(r"<b>0_pre</b> at 0 .*rank [\d,]+, logit", figures["lens"].data[0].customdata[0, 0])
    assert re.search(
        r"<b>\S+@\d</b> \d .*<br>→ <b>\S+@\d</b> \d .*<br>[+−]\d+\.\d{4} logits, [+−][\d.]+ % of the root",
        figures["tree"].data[1].hovertext[1],
    )


# --- what is refused -------------------------------------------------------------------------------------------------


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: heads_figure(breakdown(), theme="blue"), "`theme` must be one of 'light', 'dark'. Got 'blue'"),  # type: ignore[arg-type]
    (lambda: heads_frame(breakdown(dest="mlps")), "needs a breakdown of heads"),
    (lambda: heads_frame(breakdown(), top=0), "`top` must be at least 1, or None"),
    (lambda: heads_frame(breakdown(), token=2), "of 2 answers and 1 prompts. Got token=2 and prompt=0"),
    (lambda: heads_frame(breakdown(), prompt=1), "of 2 answers and 1 prompts. Got token=0 and prompt=1"),
    (lambda: head_sources_frame(breakdown(), 3, 0), "layers 0 to 2 with heads 0 to 1. Got 3 and 0"),
    (lambda: head_sources_frame(breakdown(), 0, -1), "layers 0 to 2 with heads 0 to 1. Got 0 and -1"),
    (lambda: components_frame(), "at least one breakdown"),
    (lambda: components_frame(breakdown(), top=0), "`top` must be at least 1"),
    (lambda: components_frame(breakdown(), breakdown()), "the same components"),
    (lambda: components_frame(breakdown(), breakdown(prompts=2)), "of the same answers"),
    (lambda: components_frame(breakdown(), token=5), "Got token=5"),
    (lambda: graph_figure(graph(), max_edges=0), "`max_edges` must be at least 1"),
    (lambda: attention_frame(own_cache(), 3, 0), "layers 0 to 2 with heads 0 to 1. Got 3 and 0"),
    (lambda: attention_frame(own_cache(), 0, 0, prompt=1), "of 1 prompts. Got prompt=1"),
    (lambda: attention_frame({}, 0, 0), "This dict does not know its model"),
    (lambda: logit_lens_figure(own_cache(), 5, show="size"), "`show` must be 'rank' or 'probability'"),  # type: ignore[arg-type]
    (lambda: logit_lens_frame(own_cache(), 10**6), "token id must be from 0"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_drawn_is_refused(types_unchecked: None, call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message).replace(r"\ ", " ")):
        call()


def test_importing_the_figures_loads_no_plotly() -> None:
    script = "import sys, recursive_dla.output.figures; print('plotly' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.mark.demo
def test_the_figures_of_the_notebook_s_prompt() -> None:
    """The head that moves the name, in the seed notebooks' figures."""
    demo = demo_run()
    found = break_down(demo.cache, demo.model, " Mary", wrong_answers=" John")
    assert heads_frame(found).stack().idxmax() == ("L23H3", "10 ·John")
    assert head_sources_frame(found, 23, 3).stack().idxmax() == ("0_mlp_out", "10 ·John")
    figure = heads_figure(found)
    assert figure.layout.xaxis.ticktext[2] == "·John<br>2"
    assert figure.layout.xaxis.ticktext[10] == "·John<br>10"
